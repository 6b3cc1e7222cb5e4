"""The link to Redis. It fails within seconds where Redis is away or silent, and tries nothing again: its caller knows better."""

import re
from typing import Any
from urllib.parse import urlsplit

from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import OutOfMemoryError, ReadOnlyError, ResponseError
from redis.exceptions import TimeoutError as RedisTimeoutError
from redis.retry import Retry

from worker.domain.address import NO_REDIS, is_redis_address

HEALTH_CHECK_SECONDS = 10


def open_redis(url: str, *, patience_seconds: float) -> Redis:
    """A client that waits so long to connect, and so long for each answer. It connects when it is first used.

    Raises ValueError for what is no address; the error has no part of it.
    """
    if not url.startswith("unix:") and not is_redis_address(url):
        raise ValueError(f"the URL {NO_REDIS}")
    try:
        return Redis.from_url(
            url,
            socket_connect_timeout=patience_seconds,
            socket_timeout=patience_seconds,
            health_check_interval=HEALTH_CHECK_SECONDS,
            retry=Retry(NoBackoff(), 0),
        )
    except ValueError:
        raise ValueError(f"the URL {NO_REDIS}") from None


_AWAY = re.compile("(?:^|caused error: )(MISCONF|NOREPLICAS|MASTERDOWN|CLUSTERDOWN|TRYAGAIN) ")
"""How Redis' answers begin that redis-py has no class for, alone or in a pipeline, where the same may be taken later."""


def is_redis_away(error: Exception) -> bool:
    """Whether Redis cannot be reached or takes nothing now, full or with its disk full, so that the same may succeed later.

    Source: https://github.com/redis/redis/blob/7.4.0/src/server.c, processCommand and createSharedObjects
    """
    if isinstance(error, RedisConnectionError | RedisTimeoutError | OutOfMemoryError | ReadOnlyError):
        return True
    return isinstance(error, ResponseError) and _AWAY.search(str(error)) is not None


def broker_tls(url: str) -> dict[str, Any] | None:
    """Celery's `broker_use_ssl` for that URL, whose own options go before it.

    Where `rediss://` has none, redis-py requires a certificate that it can verify; kombu would take any, and its word for it.
    """
    return {"ssl_cert_reqs": "required"} if urlsplit(url).scheme == "rediss" else None

"""The connection to Redis. It fails within seconds where Redis is away or silent. It retries nothing: callers do."""

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
    """A client that waits up to `patience_seconds` to connect, and for each answer. It connects at its first use.

    Raises ValueError if `url` is not an address of a Redis. The error holds no part of it, for it has a password.
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
"""Answers after which the same command may succeed later, alone or in a pipeline. redis-py has no classes for them."""


def is_redis_away(error: Exception) -> bool:
    """Whether the same command may succeed later: Redis cannot be reached, is full, or its disk is full.

    Source: https://github.com/redis/redis/blob/7.4.0/src/server.c, processCommand and createSharedObjects
    """
    if isinstance(error, RedisConnectionError | RedisTimeoutError | OutOfMemoryError | ReadOnlyError):
        return True
    return isinstance(error, ResponseError) and _AWAY.search(str(error)) is not None


def broker_tls(url: str) -> dict[str, Any] | None:
    """Celery's `broker_use_ssl` for the URL; None without TLS. Options in the URL itself take precedence.

    A `rediss://` URL without options means a verified certificate to redis-py. kombu would accept any certificate.
    """
    return {"ssl_cert_reqs": "required"} if urlsplit(url).scheme == "rediss" else None

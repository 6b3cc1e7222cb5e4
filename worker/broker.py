"""The link to Redis. It fails within seconds where Redis is away or silent, and tries nothing again: its caller knows better."""

from typing import Any
from urllib.parse import urlsplit

from redis import Redis
from redis.backoff import NoBackoff
from redis.retry import Retry

HEALTH_CHECK_SECONDS = 10


def open_redis(url: str, *, patience_seconds: float) -> Redis:
    """A client that waits so long to connect, and so long for each answer. It connects when it is first used."""
    return Redis.from_url(
        url,
        socket_connect_timeout=patience_seconds,
        socket_timeout=patience_seconds,
        health_check_interval=HEALTH_CHECK_SECONDS,
        retry=Retry(NoBackoff(), 0),
    )


def broker_tls(url: str) -> dict[str, Any] | None:
    """Celery's `broker_use_ssl` for that URL, whose own options go before it.

    Where `rediss://` has none, redis-py requires a certificate that it can verify; kombu would take any, and its word for it.
    """
    return {"ssl_cert_reqs": "required"} if urlsplit(url).scheme == "rediss" else None

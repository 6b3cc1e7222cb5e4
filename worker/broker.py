"""The link to Redis. It fails within seconds where Redis is away or silent, and tries nothing again: its caller knows better."""

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

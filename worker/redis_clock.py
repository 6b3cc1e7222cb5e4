"""The time by the clock of Redis: a message carries it, so that it is worth sending for as long as its sender meant."""

import logging
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from redis import Redis

from worker.domain.clock import in_words, is_wrong, skew

log = logging.getLogger(__name__)

LOOK_SECONDS = 60.0


def redis_time(redis: Redis) -> datetime:
    """What time it is to Redis. Raises redis' exceptions."""
    seconds, microseconds = redis.time()
    return datetime.fromtimestamp(seconds, UTC) + timedelta(microseconds=microseconds)


class RedisClock:
    """Our clock, put right by that of Redis where it is far off. Threads may share it: at worst two look at once."""

    def __init__(self, redis: Redis, clock: Callable[[], datetime], monotonic: Callable[[], float]) -> None:
        """`monotonic` counts seconds, whatever is done to the clock."""
        self._redis, self._clock, self._monotonic = redis, clock, monotonic
        self._looked_at: float | None = None
        self._ahead = timedelta(0)

    def now(self) -> datetime:
        """What time it is. Asks Redis once a minute, one round trip; raises redis' exceptions."""
        if self._looked_at is None or self._monotonic() - self._looked_at >= LOOK_SECONDS:
            before = self._clock()
            found = skew(before, redis_time(self._redis), self._clock())
            if is_wrong([found]) and not self._ahead:
                log.warning(
                    "this machine's clock is %s of that of Redis, whose time messages carry until it is put right (NTP)",
                    in_words([found]),
                )
            self._ahead = found if is_wrong([found]) else timedelta(0)
            self._looked_at = self._monotonic()
        return self._clock() - self._ahead

"""The time by the clock of Redis. Messages and pushes have this time, and not that of an app or of the callback app."""

import logging
import math
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from threading import Lock

from redis import Redis

from worker.domain.clock import in_words, is_wrong, skew

log = logging.getLogger(__name__)

LOOK_SECONDS = 60.0
LOOK_AGAIN_SECONDS = 5.0
"""The wait after Redis did not answer: not every caller waits for it in vain."""


def redis_time(redis: Redis) -> datetime:
    """The time (UTC) by the clock of Redis. Raises redis' exceptions."""
    seconds, microseconds = redis.time()
    return datetime.fromtimestamp(seconds, UTC) + timedelta(microseconds=microseconds)


class RedisClock:
    """Our clock, corrected by that of Redis where it is far off. Threads may share it: one asks, the others wait."""

    def __init__(self, redis: Redis, clock: Callable[[], datetime], monotonic: Callable[[], float]) -> None:
        """`clock` returns aware times. `monotonic` counts seconds, whatever is done to the clock."""
        self._redis, self._clock, self._monotonic = redis, clock, monotonic
        self._looking = Lock()
        self._look_at = -math.inf
        self._ahead = timedelta(0)

    def now(self) -> datetime:
        """The time (UTC). It asks Redis once a minute, in one round trip. Raises redis' exceptions."""
        with self._looking:
            if self._monotonic() >= self._look_at:
                self._look_at = self._monotonic() + LOOK_AGAIN_SECONDS
                self._ahead = self._measured()
                self._look_at = self._monotonic() + LOOK_SECONDS
        return self.time()

    def time(self) -> datetime:
        """The time (UTC), corrected by the last answer of Redis. It asks nobody and raises nothing."""
        return self._clock() - self._ahead

    def _measured(self) -> timedelta:
        before = self._clock()
        ahead = skew(before, redis_time(self._redis), self._clock())
        if not is_wrong([ahead]):
            return timedelta(0)
        if not self._ahead:
            log.warning(
                "this machine's clock is %s of that of Redis, whose time is used until it is put right (NTP)",
                in_words([ahead]),
            )
        return ahead

"""Whether Redis has room for new messages: they are refused while there is still enough for the workers to empty it."""

from collections.abc import Callable
from typing import Any

from redis import Redis
from redis.exceptions import NoPermissionError

FULL_SHARE = 0.85
"""Of `maxmemory`. The rest is for what nobody refuses: pushes while the ledger is away, tasks, caps, other programs."""
CHECK_SECONDS = 1.0
CHECK_MESSAGES = 1000
"""How long, and for how many messages, one look is good for: those of an ordinary size are a megabyte."""


def memory_share(redis: Redis) -> float | None:
    """How much of its `maxmemory` Redis uses, as it counts itself before it refuses a command; None where it has no limit.

    Raises redis' exceptions.
    """
    try:
        info: Any = redis.info("memory")
    except NoPermissionError:
        # Some who host a Redis do not tell.
        return None
    most = info.get("maxmemory", 0)
    return (info["used_memory"] - info.get("mem_not_counted_for_evict", 0)) / most if most else None


class Headroom:
    """One client's look at the memory of its Redis, now and then. Threads may share it: at worst one looks twice."""

    def __init__(self, redis: Redis, clock: Callable[[], float]) -> None:
        """`clock` counts seconds, and never goes back."""
        self._redis = redis
        self._clock = clock
        self._looked_at: float | None = None
        self._messages_left = 0
        self._share: float | None = None

    def share_if_full(self, messages: int) -> float | None:
        """The share of its memory that Redis uses, where it is too much for so many new messages; else None.

        Raises redis' exceptions.
        """
        now = self._clock()
        if self._looked_at is None or now - self._looked_at >= CHECK_SECONDS or self._messages_left < messages:
            self._share = memory_share(self._redis)
            self._looked_at, self._messages_left = now, CHECK_MESSAGES
        self._messages_left -= messages
        return self._share if self._share is not None and self._share >= FULL_SHARE else None

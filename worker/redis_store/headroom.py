"""Whether Redis has room for new messages. Clients stop early enough that workers still have the room to empty it."""

from collections.abc import Callable
from typing import Any

from redis import Redis
from redis.exceptions import NoPermissionError

FULL_SHARE = 0.85
"""The share of `maxmemory` from which on clients refuse messages.

The rest is for data that nobody refuses: pushes while the ledger is away, tasks, caps, other programs.
"""
CHECK_SECONDS = 1.0
CHECK_MESSAGES = 1000
"""One look counts for this many seconds and messages. So many messages of an ordinary size take a megabyte."""


def memory_share(redis: Redis) -> float | None:
    """The share of `maxmemory` that Redis uses, counted as Redis counts before it refuses a command.

    None where Redis has no limit or does not tell. Raises redis' exceptions.
    """
    try:
        info: Any = redis.info("memory")
    except NoPermissionError:
        # Some hosts of Redis forbid INFO.
        return None
    most = info.get("maxmemory", 0)
    return (info["used_memory"] - info.get("mem_not_counted_for_evict", 0)) / most if most else None


class Headroom:
    """Looks at the memory of a client's Redis now and then. Threads may share it: at worst two of them look at once."""

    def __init__(self, redis: Redis, clock: Callable[[], float]) -> None:
        """`clock` counts seconds, and never goes back."""
        self._redis = redis
        self._clock = clock
        self._looked_at: float | None = None
        self._messages_left = 0
        self._share: float | None = None

    def share_if_full(self, messages: int) -> float | None:
        """The share of its memory that Redis uses, if that leaves no room for so many new messages; else None.

        Raises redis' exceptions.
        """
        now = self._clock()
        if self._looked_at is None or now - self._looked_at >= CHECK_SECONDS or self._messages_left < messages:
            self._share = memory_share(self._redis)
            self._looked_at, self._messages_left = now, CHECK_MESSAGES
        self._messages_left -= messages
        return self._share if self._share is not None and self._share >= FULL_SHARE else None

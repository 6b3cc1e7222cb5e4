"""Runs a block in at most one worker at a time. An optimisation only: where its owner stands still for too long there are two."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress

from redis import Redis
from redis.exceptions import OutOfMemoryError, RedisError


@contextmanager
def lock(redis: Redis, name: str, *, lost_seconds: float) -> Iterator[bool]:
    """Whether the block is the owner's: nobody else gets the lock within it, or before `lost_seconds` are over.

    A full Redis can keep no lock: then each is the owner. Raises redis' exceptions.
    """
    # The key has its name since before the lock had; workers of both versions may run at the same time.
    kept = redis.lock(f"sms:alone:{name}", timeout=lost_seconds)
    try:
        locked = mine = bool(kept.acquire(blocking=False))
    except OutOfMemoryError:
        locked, mine = False, True
    try:
        yield mine
    finally:
        if locked:
            # The lock expires by itself. The next command reports that Redis is away.
            with suppress(RedisError):
                kept.release()

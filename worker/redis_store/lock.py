"""Runs a block in at most one worker at a time. An optimisation only: if the owner stalls too long, there are two."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress

from redis import Redis
from redis.exceptions import OutOfMemoryError, RedisError


@contextmanager
def lock(redis: Redis, name: str, *, lost_seconds: float) -> Iterator[bool]:
    """Gives True to the owner of the lock, else False. The owner has it to the end of the block, or for `lost_seconds`.

    A full Redis cannot keep a lock: then every caller is the owner. Raises redis' exceptions.
    """
    # The key's name is older than that of this module; workers of both versions may run at the same time.
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

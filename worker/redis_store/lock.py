"""Of all the workers one does a thing that the others, if they did it too, would do in vain: wait for tokens, prepare a run.

It saves work and nothing depends on it: where the one stands still for too long there are two.
"""

from collections.abc import Iterator
from contextlib import contextmanager, suppress

from redis import Redis
from redis.exceptions import OutOfMemoryError, RedisError


@contextmanager
def alone(redis: Redis, what: str, *, lost_seconds: float) -> Iterator[bool]:
    """Whether nobody else does `what`; then nobody else does within the block, or begins to before `lost_seconds` are over.

    In a full Redis nobody can say so, and each does it. Raises redis' exceptions.
    """
    lock = redis.lock(f"sms:alone:{what}", timeout=lost_seconds)
    try:
        locked = mine = bool(lock.acquire(blocking=False))
    except OutOfMemoryError:
        locked, mine = False, True
    try:
        yield mine
    finally:
        if locked:
            # The lock expires by itself. The next command reports that Redis is away.
            with suppress(RedisError):
                lock.release()

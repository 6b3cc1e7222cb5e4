"""Who waits for tokens: of all the workers one for each lane. The others, if they asked too, would ask in vain."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress

from redis import Redis
from redis.exceptions import RedisError

LOST_SECONDS = 2
"""A waiter that has not come back by then was lost, or stands still: another may wait."""


@contextmanager
def only_waiter(redis: Redis, lane: str) -> Iterator[bool]:
    """Whether nobody else waits for tokens in that lane; then nobody else does within the block. Raises redis' exceptions."""
    lock = redis.lock(f"sms:waits:{lane}", timeout=LOST_SECONDS)
    mine = bool(lock.acquire(blocking=False))
    try:
        yield mine
    finally:
        if mine:
            # It has run out by itself, or will: Redis being away is told by what asks it next.
            with suppress(RedisError):
                lock.release()

"""The names of the accounts that workers serve. Workers announce them, so that clients can refuse an unknown one."""

import logging
import math
from collections.abc import Callable, Collection
from datetime import datetime, timedelta
from typing import Any

from redis import Redis
from redis.exceptions import RedisError

log = logging.getLogger(__name__)

_ACCOUNTS = "sms:accounts:known"
"""A sorted set: each account by the time of its last announcement."""
FORGOTTEN_AFTER = timedelta(minutes=10)
"""An account that no worker has announced for this long is removed."""
_TOLD_SINCE = "sms:accounts:since"
ANNOUNCE_SECONDS = 60.0
"""The time between two announcements of one worker."""

# A full Redis runs this too (allow-oom).
_ANNOUNCE = """#!lua flags=allow-oom
for i = 3, #ARGV do
  redis.call('ZADD', KEYS[1], ARGV[1], ARGV[i])
end
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', ARGV[2])
redis.call('SET', KEYS[2], ARGV[1], 'NX')
"""


def announce(redis: Redis, accounts: Collection[str], *, now: datetime) -> None:
    """Announces the accounts of a worker, so that clients can refuse an unknown one before anything is enqueued.

    The accounts of other workers stay for ten minutes, for in a rolling deploy they have other settings.
    Raises redis' exceptions.
    """
    forgotten = (now - FORGOTTEN_AFTER).timestamp()
    redis.eval(_ANNOUNCE, 2, _ACCOUNTS, _TOLD_SINCE, now.timestamp(), forgotten, *accounts)


def known(redis: Redis) -> frozenset[str] | None:
    """The names of the accounts; None where no worker has announced any. Raises redis' exceptions."""
    names: Any = redis.zrange(_ACCOUNTS, 0, -1)
    return frozenset(name.decode() for name in names) or None


def known_to_all(redis: Redis, *, now: datetime) -> frozenset[str] | None:
    """The names of the accounts, once every worker has had the time to announce its own; None before.

    It is None for ten minutes after Redis was emptied. Raises redis' exceptions.
    """
    since: Any = redis.get(_TOLD_SINCE)
    return known(redis) if since and float(since) <= (now - FORGOTTEN_AFTER).timestamp() else None


def announcing(
    redis: Redis, accounts: Collection[str], clock: Callable[[], datetime], monotonic: Callable[[], float]
) -> Callable[[], None]:
    """Returns a function that announces at most once in ANNOUNCE_SECONDS. It logs errors of Redis and never raises."""
    announced_at = -math.inf

    def announce_if_due() -> None:
        nonlocal announced_at
        if monotonic() - announced_at < ANNOUNCE_SECONDS:
            return
        try:
            announce(redis, accounts, now=clock())
        except RedisError as error:
            log.warning("Redis is away, so this worker cannot announce its accounts to clients: %s", error)
        else:
            announced_at = monotonic()

    return announce_if_due

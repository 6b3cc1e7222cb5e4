"""The accounts that workers have, as they tell it themselves: so that clients can refuse an unknown one."""

import logging
import math
from collections.abc import Callable, Collection
from datetime import datetime, timedelta
from typing import Any

from redis import Redis
from redis.exceptions import RedisError

log = logging.getLogger(__name__)

_ACCOUNTS = "sms:accounts:known"
"""When each was last told."""
FORGOTTEN_AFTER = timedelta(minutes=10)
"""An account that no worker has told for so long is no more."""
_TOLD_SINCE = "sms:accounts:since"
ANNOUNCE_SECONDS = 60.0
"""From one time that a worker tells its accounts to the next."""

# A full Redis takes this too (allow-oom).
_ANNOUNCE = """#!lua flags=allow-oom
for i = 3, #ARGV do
  redis.call('ZADD', KEYS[1], ARGV[1], ARGV[i])
end
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', ARGV[2])
redis.call('SET', KEYS[2], ARGV[1], 'NX')
"""


def announce(redis: Redis, accounts: Collection[str], *, now: datetime) -> None:
    """Tells which accounts a worker has, so that clients can refuse an unknown one before anything is enqueued.

    What other workers have told stays for ten minutes, for in a rolling deploy they have other settings.
    """
    forgotten = (now - FORGOTTEN_AFTER).timestamp()
    redis.eval(_ANNOUNCE, 2, _ACCOUNTS, _TOLD_SINCE, now.timestamp(), forgotten, *accounts)


def known(redis: Redis) -> frozenset[str] | None:
    """The names of the accounts; None where no worker has told them yet."""
    names: Any = redis.zrange(_ACCOUNTS, 0, -1)
    return frozenset(name.decode() for name in names) or None


def known_to_all(redis: Redis, *, now: datetime) -> frozenset[str] | None:
    """The names of the accounts; None as long as not every worker has had the time to tell its own, as after Redis was emptied."""
    since: Any = redis.get(_TOLD_SINCE)
    return known(redis) if since and float(since) <= (now - FORGOTTEN_AFTER).timestamp() else None


def announcing(
    redis: Redis, accounts: Collection[str], clock: Callable[[], datetime], monotonic: Callable[[], float]
) -> Callable[[], None]:
    """Returns `announce` so that it may be called often: it does nothing within ANNOUNCE_SECONDS of the last success."""
    told_at = -math.inf

    def announce_if_due() -> None:
        nonlocal told_at
        if monotonic() - told_at < ANNOUNCE_SECONDS:
            return
        try:
            announce(redis, accounts, now=clock())
        except RedisError as why:
            log.warning("clients cannot be told of the accounts of this worker, for Redis is away: %s", why)
        else:
            told_at = monotonic()

    return announce_if_due

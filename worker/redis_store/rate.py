"""The rate of an account: how many calls and mobiles a second, in all processes together.

A token bucket for each in Redis (`rate.lua`), on Redis' own clock. Nothing is reserved: who is not granted has taken
nothing and asks again, so an OTP never stands in line behind a campaign.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from redis import Redis
from redis.exceptions import RedisError

from worker.domain.lane import Lane
from worker.domain.rate import Rate
from worker.redis_store.scripts import load, run_known

log = logging.getLogger(__name__)

_NO_LIMIT = 1e9
"""A rate that nobody reaches, where one of the two has no limit: a case less in the script."""
ASK_AGAIN_SECONDS = 1.0
"""When to ask for tokens again that Redis was not there to give."""


@dataclass(frozen=True, slots=True)
class Grant:
    """What may be done now of what was asked for."""

    granted: int
    """So many of the calls, the first ones. They are taken, whether they are made or not."""
    wait: float
    """Seconds until it is worth asking for the rest, should nobody else take any; 0 where there is no rest."""


def take(redis: Redis, account: str, rate: Rate, floor: float, sizes: Sequence[int]) -> Grant:
    """Takes what the rate allows now of calls to so many mobiles each, in this order: one round trip.

    `floor` is the share (0 to <1) of each bucket that is left for more urgent lanes. A call to more mobiles than the bucket
    holds above it is granted when the bucket is full, and what it takes too much is waited for afterwards.
    The wait is for several of the calls at once where there are several, so that one who waits asks a few times a second.
    Raises redis' exceptions: without Redis it is not known what may be done.
    """
    if rate.calls is None and rate.mobiles is None:
        return Grant(len(sizes), 0.0)
    arguments = (floor, rate.calls or _NO_LIMIT, rate.mobiles or _NO_LIMIT, *sizes)
    granted, microseconds = run_known(redis, load("rate"), (f"sms:rate:{{{account}}}",), *arguments)
    return Grant(granted, microseconds / 1_000_000)


def allowance(redis: Redis, rates: Mapping[int, tuple[str, Rate]]) -> Callable[[int, Lane, Sequence[int]], Grant]:
    """Returns `take` for accounts by their ids. `rates` has the name and the rate of each.

    While Redis cannot be asked nothing is granted, rather than everything.
    """

    def allow(account_id: int, lane: Lane, sizes: Sequence[int]) -> Grant:
        name, rate = rates[account_id]
        try:
            return take(redis, name, rate, lane.floor, sizes)
        except RedisError as why:
            log.warning("nothing is sent while Redis cannot be asked for tokens: %s", why)
            return Grant(0, ASK_AGAIN_SECONDS)

    return allow

"""The rate of an account: how many calls and mobiles a second it may send, in all processes together.

Redis has a token bucket for each of the two (`rate.lua`), on its own clock. Nothing is reserved: a worker that gets no
tokens asks again later, so an OTP never stands in line behind a campaign.
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
"""A rate that nobody reaches stands for "no limit": the script has one case less."""
ASK_AGAIN_SECONDS = 1.0
"""The wait before a worker asks again, while Redis is away."""


@dataclass(frozen=True, slots=True)
class Grant:
    """The answer to a request for tokens."""

    granted: int
    """How many of the calls may be made, from the first on. Their tokens are taken, also if the calls are not made."""
    wait: float
    """Seconds until it is worth asking for the rest, if nobody else takes tokens; 0 where there is no rest."""


def take(redis: Redis, account: str, rate: Rate, floor: float, sizes: Sequence[int]) -> Grant:
    """Takes tokens for as many calls as the rate allows now, in the order of `sizes`, in one round trip.

    `sizes` has the number of mobiles of each call. `floor` is the share (0 to <1) of each bucket that is left for more
    urgent lanes. A call to more mobiles than the bucket holds above the floor is granted when the bucket is full. It
    leaves a debt, and later calls wait for it.
    The wait is for several calls at once where several wait, so that a worker asks only a few times a second.
    Raises redis' exceptions: then nothing may be sent.
    """
    if rate.calls is None and rate.mobiles is None:
        return Grant(len(sizes), 0.0)
    arguments = (floor, rate.calls or _NO_LIMIT, rate.mobiles or _NO_LIMIT, *sizes)
    granted, microseconds = run_known(redis, load("rate"), (f"sms:rate:{{{account}}}",), *arguments)
    return Grant(granted, microseconds / 1_000_000)


def allowance(redis: Redis, rates: Mapping[int, tuple[str, Rate]]) -> Callable[[int, Lane, Sequence[int]], Grant]:
    """Returns `take` for accounts by their ids. `rates` has the name and the rate of each.

    While Redis is away it grants nothing, rather than everything.
    """

    def allow(account_id: int, lane: Lane, sizes: Sequence[int]) -> Grant:
        name, rate = rates[account_id]
        try:
            return take(redis, name, rate, lane.floor, sizes)
        except RedisError as error:
            log.warning("nothing is sent while Redis cannot be asked for tokens: %s", error)
            return Grant(0, ASK_AGAIN_SECONDS)

    return allow

"""The rate of an account: how many calls and mobiles a second, in all processes together.

A token bucket for each in Redis (`bucket.lua`), on Redis' own clock. Nothing is reserved: who is not granted has taken
nothing and asks again, so an OTP never stands in line behind a campaign.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha1
from importlib.resources import files
from typing import Any

from redis import Redis
from redis.exceptions import NoScriptError

from worker.domain.rate import Rate

_BUCKET = files("worker.limits").joinpath("bucket.lua").read_text()
_BUCKET_SHA = sha1(_BUCKET.encode(), usedforsecurity=False).hexdigest()

_NO_LIMIT = 1e9
"""A rate that nobody reaches, where one of the two has no limit: a case less in the script."""


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
    granted, microseconds = _run(redis, f"sms:rate:{{{account}}}", arguments)
    return Grant(granted, microseconds / 1_000_000)


def _run(redis: Redis, key: str, arguments: Sequence[float]) -> Any:
    try:
        return redis.evalsha(_BUCKET_SHA, 1, key, *arguments)
    except NoScriptError:  # an emptied Redis or a new one: from now on it has it
        return redis.eval(_BUCKET, 1, key, *arguments)

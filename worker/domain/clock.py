"""When a process' own clock is wrong: it would expire what is still worth sending, or send what no longer is."""

from collections.abc import Collection
from datetime import datetime, timedelta

BOUND = timedelta(seconds=30)
"""A tenth of what an OTP is worth sending for, and more than machines without NTP drift apart in a month."""


class WrongClock(RuntimeError):
    """This machine's clock is far from those of Redis and the ledger, so nobody here knows what time it is."""


def skew(before: datetime, theirs: datetime, after: datetime) -> timedelta:
    """How far our clock is ahead of another (below 0: behind), at the least: it told its time between two looks at ours."""
    if theirs < before:
        return before - theirs
    return min(after - theirs, timedelta(0))


def is_wrong(skews: Collection[timedelta]) -> bool:
    """Whether a clock is wrong that differs so from others: if it is far from each of them. Nobody knows without another.

    One that agrees with ours is enough: then it is the other that is wrong, and all who asked it would stop.
    """
    return bool(skews) and all(abs(one) > BOUND for one in skews)


def in_words(skews: Collection[timedelta]) -> str:
    """How far the clock is off, by the one that it is nearest to."""
    nearest = min(skews, key=abs)
    return f"{abs(nearest.total_seconds()):.0f} s {'ahead' if nearest > timedelta(0) else 'behind'}"

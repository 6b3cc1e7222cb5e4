"""Says when a process' own clock is wrong. Such a process would let valid messages expire, or send expired ones."""

from collections.abc import Collection
from datetime import datetime, timedelta

BOUND = timedelta(seconds=30)
"""A tenth of the validity of an OTP, and more than machines without NTP drift apart in a month."""


class WrongClock(RuntimeError):
    """This machine's clock is far from those of Redis and the ledger, so this process does not know the time."""


def skew(before: datetime, theirs: datetime, after: datetime) -> timedelta:
    """How far our clock is at least ahead of another one; below 0, how far it is behind.

    The other clock was read, as `theirs`, between the readings `before` and `after` of ours.
    """
    if theirs < before:
        return before - theirs
    return min(after - theirs, timedelta(0))


def is_wrong(skews: Collection[timedelta]) -> bool:
    """Whether our clock is wrong: it is far from each of the other clocks. Without another clock it counts as right.

    One clock that agrees with ours is enough. Otherwise one wrong clock would stop all processes that asked it.
    """
    return bool(skews) and all(abs(ahead) > BOUND for ahead in skews)


def in_words(skews: Collection[timedelta]) -> str:
    """How far our clock is off, in words, by the clock that it is nearest to. `skews` is not empty."""
    nearest = min(skews, key=abs)
    return f"{abs(nearest.total_seconds()):.0f} s {'ahead' if nearest > timedelta(0) else 'behind'}"

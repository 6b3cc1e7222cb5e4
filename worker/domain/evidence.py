"""What speaks against an unknown call having been taken: nothing was reported on it, though its neighbours were."""

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

NEAR = timedelta(minutes=15)
"""A call this long before or after is a neighbour."""
LOOKED_AT = 20
"""As many neighbours are looked at on each side, the nearest."""
LEAST_REPORTED = 3
"""So many of them must be reported on, on each side: fewer say little of how reports come."""
SEVERAL = 5
"""How many times the longest delay of the neighbours' reports a call must have been silent."""
LEAST_SILENCE = timedelta(minutes=2)
MOST_SILENT_SHARE = 0.05
"""Where more of the neighbours have no report either, reports are missing: then silence says nothing."""


@dataclass(frozen=True, slots=True)
class Neighbour:
    """A call of the same account that was taken: when it was made, and when the first report on it came, if one did."""

    called_at: datetime
    reported_at: datetime | None

    @property
    def delay(self) -> timedelta | None:
        """How long its first report took; one that came during the call took no time."""
        return None if self.reported_at is None else max(timedelta(0), self.reported_at - self.called_at)


def neighbours(called_at: datetime, times: Sequence[datetime]) -> tuple[range, range]:
    """Which of these times, the earliest first, are those of the neighbours before a call that was made then, and after it."""
    first, middle = bisect_left(times, called_at - NEAR), bisect_right(times, called_at)
    end = bisect_right(times, called_at + NEAR)
    return range(max(first, middle - LOOKED_AT), middle), range(middle, min(end, middle + LOOKED_AT))


def probably_not_taken(called_at: datetime, around: Sequence[Neighbour], *, now: datetime) -> str | None:
    """Why a call that was made at that time, and of which nothing was reported, was probably not taken; None where that is open."""
    around = sorted(around, key=_called_at)
    sides = [[around[n] for n in side] for side in neighbours(called_at, [one.called_at for one in around])]
    if any(sum(one.delay is not None for one in side) < LEAST_REPORTED for side in sides):
        return None
    near = [one for side in sides for one in side]
    longest = max(one.delay for one in near if one.delay is not None)
    needed = max(SEVERAL * longest, LEAST_SILENCE)
    if now - called_at < needed:
        return None
    silent = sum(one.delay is None and now - one.called_at >= needed for one in near)
    if silent > MOST_SILENT_SHARE * len(near):
        return None
    return (
        f"no report in {_in_words(now - called_at)}; those of {len(near) - silent} calls made just before and after it "
        f"came within {_in_words(longest)}"
    )


def _called_at(one: Neighbour) -> datetime:
    return one.called_at


def _in_words(time: timedelta) -> str:
    seconds = time.total_seconds()
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit}"
    return f"{max(1, seconds):.0f} s"

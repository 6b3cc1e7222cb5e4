"""The evidence that the gateway did not take an unknown call: its neighbours have reports, and it has none."""

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

NEAR = timedelta(minutes=15)
"""Calls at most this long before or after are neighbours."""
LOOKED_AT = 20
"""The nearest neighbours that count, on each side."""
LEAST_REPORTED = 3
"""The least number of neighbours with reports, on each side: fewer say little of how reports come."""
SEVERAL = 5
"""A call must be silent for this many times the longest delay of the neighbours' reports."""
LEAST_SILENCE = timedelta(minutes=2)
MOST_SILENT_SHARE = 0.05
"""The largest share of neighbours without a report. Beyond it reports are missing, and silence says nothing."""


@dataclass(frozen=True, slots=True)
class Neighbour:
    """A call of the same account that the gateway took: the times of the call, and of its first report, if any."""

    called_at: datetime
    reported_at: datetime | None

    @property
    def delay(self) -> timedelta | None:
        """How long the first report took; zero if it came during the call."""
        return None if self.reported_at is None else max(timedelta(0), self.reported_at - self.called_at)


def neighbours(called_at: datetime, times: Sequence[datetime]) -> tuple[range, range]:
    """The indexes in `times` of the neighbours before and after a call at `called_at`. `times` are in order."""
    first, middle = bisect_left(times, called_at - NEAR), bisect_right(times, called_at)
    end = bisect_right(times, called_at + NEAR)
    return range(max(first, middle - LOOKED_AT), middle), range(middle, min(end, middle + LOOKED_AT))


def probably_not_taken(called_at: datetime, around: Sequence[Neighbour], *, now: datetime) -> str | None:
    """Why the gateway probably did not take a call at `called_at` that has no report; None where that is open.

    `around` has calls of the same account at about that time, in any order.
    """
    around = sorted(around, key=_called_at)
    sides = [[around[n] for n in side] for side in neighbours(called_at, [call.called_at for call in around])]
    if any(sum(call.delay is not None for call in side) < LEAST_REPORTED for side in sides):
        return None
    near = [call for side in sides for call in side]
    longest = max(call.delay for call in near if call.delay is not None)
    needed = max(SEVERAL * longest, LEAST_SILENCE)
    if now - called_at < needed:
        return None
    silent = sum(call.delay is None and now - call.called_at >= needed for call in near)
    if silent > MOST_SILENT_SHARE * len(near):
        return None
    return (
        f"no report in {_in_words(now - called_at)}; those of {len(near) - silent} calls made just before and after it "
        f"came within {_in_words(longest)}"
    )


def _called_at(call: Neighbour) -> datetime:
    return call.called_at


def _in_words(time: timedelta) -> str:
    seconds = time.total_seconds()
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit}"
    return f"{max(1, seconds):.0f} s"

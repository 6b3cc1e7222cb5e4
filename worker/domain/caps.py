"""How often one mobile may be sent to: a cap of a lane, such as five an hour."""

import re
from dataclasses import dataclass
from datetime import timedelta
from typing import NamedTuple

UNITS = {"second": 1, "minute": 60, "hour": 3600, "day": 86_400}
"""Seconds in each."""
MOST_TIMES = 1000
"""Every time within the window is kept, and more than that is no cap but a rate."""
LONGEST = timedelta(days=31)

_WRITTEN = re.compile(rf"([0-9]{{1,9}})/(?:([0-9]{{1,9}}) ?)?({'|'.join(UNITS)})s?")


@dataclass(frozen=True, slots=True)
class Cap:
    """At most so many times in any window of so many seconds."""

    times: int
    seconds: int


class Capped(NamedTuple):
    """What a cap counts: a mobile, for each account and lane apart."""

    account: str
    lane: str
    mobile: str


def read_cap(written: str) -> Cap:
    """The cap that is written like 5/hour or 3/10 minutes. ValueError for what is none."""
    found = _WRITTEN.fullmatch(written)
    if not found:
        raise ValueError(f"{written!r} is no cap; write one like 1/minute, 5/hour, 3/10 minutes")
    times, units, unit = int(found[1]), int(found[2] or 1), found[3]
    if not 1 <= times <= MOST_TIMES:
        raise ValueError(f"{written!r}: a cap is at least 1 and at most {MOST_TIMES:,}")
    if not 1 <= units * UNITS[unit] <= LONGEST.total_seconds():
        raise ValueError(f"{written!r}: the window of a cap is a second or more and at most {LONGEST.days} days")
    return Cap(times, units * UNITS[unit])

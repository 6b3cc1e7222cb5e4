"""A cap of a lane limits how often one mobile may be sent to, such as five times an hour."""

import re
from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import timedelta
from typing import NamedTuple

UNITS = {"second": 1, "minute": 60, "hour": 3600, "day": 86_400}
"""The seconds of each unit."""
MOST_TIMES = 1000
"""Redis keeps every time within a window. A larger number is not a cap but a rate."""
MAX_WINDOW = timedelta(days=31)

_WRITTEN = re.compile(rf"([0-9]{{1,9}})/(?:([0-9]{{1,9}}) ?)?({'|'.join(UNITS)})s?")


@dataclass(frozen=True, slots=True)
class Cap:
    """At most `times` in any window of `seconds`."""

    times: int
    seconds: int


class CapKey(NamedTuple):
    """The mobile that a cap counts, separately for each account and lane."""

    account: str
    lane: str
    mobile: str


Room = Callable[[Collection[CapKey]], dict[CapKey, int]]
"""Returns how often each mobile may still be sent to. Raises redis' exceptions or WrongClock where that cannot be
known.
"""


def read_cap(written: str) -> Cap:
    """Reads a cap that is written like 5/hour or 3/10 minutes. Raises ValueError with the remedy."""
    match = _WRITTEN.fullmatch(written)
    if not match:
        raise ValueError(f"{written!r} is not a cap; write one like 1/minute, 5/hour, 3/10 minutes")
    times, units, unit = int(match[1]), int(match[2] or 1), match[3]
    if not 1 <= times <= MOST_TIMES:
        raise ValueError(f"{written!r}: a cap is at least 1 and at most {MOST_TIMES:,}")
    if not 1 <= units * UNITS[unit] <= MAX_WINDOW.total_seconds():
        raise ValueError(f"{written!r}: the window of a cap is a second or more and at most {MAX_WINDOW.days} days")
    return Cap(times, units * UNITS[unit])

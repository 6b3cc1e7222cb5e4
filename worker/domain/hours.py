"""The hours of the day in which a lane may send, so that no advertisement arrives at night."""

import re
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta, tzinfo

_WRITTEN = re.compile(r"([01]\d|2[0-3]):([0-5]\d)-([01]\d|2[0-4]):([0-5]\d)")


@dataclass(frozen=True, slots=True)
class Hours:
    """From `start` until before `end`, in an account's time zone. They span midnight where `end` is before `start`."""

    start: time
    end: time


def read_hours(written: str) -> Hours:
    """Reads hours that are written like 08:00-21:00; 24:00 is the end of the day. Raises ValueError with the remedy."""
    match = _WRITTEN.fullmatch(written)
    if not match:
        raise ValueError("write hours like 08:00-21:00")
    from_hour, from_minute, to_hour, to_minute = map(int, match.groups())
    if to_hour == 24 and to_minute:
        raise ValueError("no day is longer than 24:00; write hours like 08:00-21:00")
    start, end = time(from_hour, from_minute), time(to_hour % 24, to_minute)
    if start == end:
        raise ValueError("these hours have no length; leave them out to send at any time")
    return Hours(start, end)


def earliest(hours: Hours | None, zone: tzinfo, at: datetime) -> datetime:
    """The first moment from `at` on that is within the hours in that time zone; `at` itself without hours."""
    if hours is None:
        return at
    local = at.astimezone(zone)
    now = local.time()
    begun, ended = now >= hours.start, now >= hours.end
    if begun and not ended if hours.start < hours.end else begun or not ended:
        return at
    day = local.date() + timedelta(days=begun)
    return datetime.combine(day, hours.start, zone).astimezone(UTC)


def closing(hours: Hours, zone: tzinfo, at: datetime) -> datetime:
    """The end (UTC) of the hours that `at` is within."""
    local = at.astimezone(zone)
    day = local.date() + timedelta(days=local.time() >= hours.end)
    return datetime.combine(day, hours.end, zone).astimezone(UTC)

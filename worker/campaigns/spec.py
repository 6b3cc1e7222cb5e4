"""The spec of a campaign as a person writes it, and its schedule read from it with every fault at once."""

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from worker.campaigns.cron import BadCron, next_time
from worker.domain.campaigns.campaign import Leftover, Missed
from worker.domain.hours import Hours, read_hours
from worker.domain.message import Fault
from worker.domain.read_message import PAST_GRACE

_SHARE = re.compile(r"([0-9]{1,3}(?:\.[0-9]{1,4})?)\s*%")


@dataclass(frozen=True, slots=True)
class CampaignSpec:
    """A campaign as a person writes it: `at` in ISO 8601 (in the time zone, unless it says otherwise), shares like 1%."""

    name: str
    audience: str
    content: str
    account: str = "default"
    lane: str = "marketing"
    time_zone: str = "Asia/Shanghai"
    at: str | None = None
    cron: str | None = None
    hours: str | None = None
    leftover: str = Leftover.CONTINUE
    missed: str = Missed.LATE
    first: str | None = None
    stop_at: str | None = None


def read_zone(spec: CampaignSpec, faults: list[Fault]) -> ZoneInfo:
    """Returns the campaign's time zone, or adds a fault and returns UTC."""
    try:
        return ZoneInfo(spec.time_zone)
    except (ZoneInfoNotFoundError, ValueError):
        faults.append(Fault("--zone", f"{spec.time_zone!r} is not a time zone; write one like Asia/Shanghai"))
        return ZoneInfo("UTC")


def read_own_hours(spec: CampaignSpec, faults: list[Fault]) -> Hours | None:
    """Returns the campaign's own hours where it has some, or adds a fault."""
    try:
        return read_hours(spec.hours) if spec.hours else None
    except ValueError as error:
        faults.append(Fault("--hours", f"{spec.hours!r}: {error}"))
        return None


def read_time(spec: CampaignSpec, zone: ZoneInfo, now: datetime, faults: list[Fault]) -> datetime | None:
    """Returns when the first run is due, where the spec gives a time. Adds a fault for a bad or a second schedule."""
    if spec.at and spec.cron:
        faults.append(Fault("--at", "and --cron are two schedules; give one of them"))
    if spec.cron:
        try:
            next_time(spec.cron, zone, now)
        except BadCron as error:
            faults.append(Fault("--cron", str(error)))
    return _at(spec.at, zone, now, faults) if spec.at else None


def _at(written: str, zone: ZoneInfo, now: datetime, faults: list[Fault]) -> datetime | None:
    try:
        at = datetime.fromisoformat(written)
        at = at if at.tzinfo else at.replace(tzinfo=zone)
        at.astimezone(UTC)  # A time before the year 1 or after 9999 in UTC cannot be stored.
    except (ValueError, OverflowError):
        faults.append(Fault("--at", f"{written!r} is not a time; write one like 2026-12-01T09:00"))
        return None
    if at < now - PAST_GRACE:
        past = f"{at.isoformat()} is past; give a time to come, or leave it out to start it by hand"
        faults.append(Fault("--at", past))
    return at


def read_share(written: str | None, field: str, faults: list[Fault]) -> float | None:
    """Returns a share like 1% as a fraction of 1, or adds a fault for that field."""
    if written is None:
        return None
    match = _SHARE.fullmatch(written.strip())
    share = float(match[1]) / 100 if match else 0
    if not 0 < share < 1:
        faults.append(Fault(field, f"{written!r} is not a share; write one like 1% or 0.5%"))
    return share

"""Plan: what somebody wants of a campaign is read, with every fault at once, and kept as a draft."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from sqlalchemy import Connection

from worker.campaigns.cron import BadCron, next_time
from worker.campaigns.template import RowRefused, TemplateFault, Text, compile_text
from worker.domain.campaigns.campaign import Campaign, Leftover, Missed, hours_of, name_faults, window
from worker.domain.hours import Hours, read_hours
from worker.domain.lane import Lane
from worker.domain.message import PAST_GRACE, Fault
from worker.ledger.campaigns import audiences, campaigns
from worker.ledger.sending import accounts

TRIED = 1000
"""So many members are looked at before a text is kept: if none of them makes one, none of the others will."""

_SHARE = re.compile(r"([0-9]{1,3}(?:\.[0-9]{1,4})?)\s*%")


@dataclass(frozen=True, slots=True)
class Wish:
    """A campaign as a person writes it: `at` ISO 8601 (in the time zone, unless it says otherwise), shares like 1%."""

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


class BadCampaign(ValueError):
    """The campaign cannot be as it is wished; the text says everything that is wrong, and nothing was kept."""

    def __init__(self, faults: list[Fault]) -> None:
        self.faults = tuple(faults)
        super().__init__("refused, nothing was kept: " + "; ".join(map(str, faults)))


def plan(
    connection: Connection,
    wish: Wish,
    *,
    lanes: Mapping[str, Lane],
    zones: Mapping[str, ZoneInfo],
    by: str,
    now: datetime,
) -> Campaign:
    """Keeps the campaign as a draft, and gives it. `zones` are those of the accounts as far as they are known. Raises BadCampaign."""
    faults: list[Fault] = [Fault("name", text) for text in name_faults(wish.name)]

    def fault(field: str, text: str) -> None:
        faults.append(Fault(field, text))

    if not faults and campaigns.find(connection, wish.name):
        fault("name", f"{wish.name!r} is taken; give another, or see `sms campaign show {wish.name}`")
    known = accounts.numbers(connection)
    if wish.account not in known:
        fault(
            "--account",
            f"{wish.account!r} is unknown; the accounts are: {', '.join(sorted(known)) or 'none yet: start a worker'}",
        )
    audience = audiences.find(connection, wish.audience, to_use=True)
    if audience is None or not audience.ready:
        names = ", ".join(one.name for one in audiences.listed(connection) if one.ready)
        fault(
            "--audience",
            f"{wish.audience!r} is no audience; the audiences are: {names or 'none yet'}: `sms audience import`",
        )
    else:
        try:
            text = compile_text(wish.content, audience.header)
            if (why := _refuses_all(connection, audience.id, text)) is not None:
                fault("--text", f"makes no text of any row: {why}")
        except TemplateFault as why:
            faults += [Fault("--text", one) for one in why.faults]
    zone = _zone(wish.time_zone, fault)
    own = _hours(wish.hours, fault)
    if window(hours_of(lanes[wish.lane].hours, zones.get(wish.account, zone), own, zone), now) is None:
        fault("--hours", f"{wish.hours} have no moment in common with the hours of lane {wish.lane}")
    next_at = _time(wish, zone, now, fault)
    first, stop_at = _share(wish.first, "--first", fault), _share(wish.stop_at, "--stop-at", fault)
    if faults or audience is None:
        raise BadCampaign(faults)
    values = {
        "name": wish.name,
        "account_id": known[wish.account],
        "lane": wish.lane,
        "audience_id": audience.id,
        "content": wish.content,
        "next_at": next_at,
        "cron": wish.cron,
        "time_zone": zone.key,
        "hours": wish.hours,
        "leftover": wish.leftover,
        "missed": wish.missed,
        "first_share": first,
        "stop_share": stop_at,
    }
    added = campaigns.add(connection, values, by=by, now=now)
    kept = None if added is None else campaigns.get(connection, added)
    if kept is None:
        raise BadCampaign([Fault("name", f"{wish.name!r} was taken by somebody else just now; give another")])
    return kept


def start_time(campaign: Campaign, *, now: datetime) -> datetime:
    """When the first run of a draft is due if it is started now. Raises BadCampaign where that is past."""
    if campaign.cron:
        return next_time(campaign.cron, ZoneInfo(campaign.time_zone), now)
    if campaign.next_at and campaign.next_at < now - PAST_GRACE:
        past = f"{campaign.next_at.astimezone(ZoneInfo(campaign.time_zone)).isoformat()} is past; start it with --now"
        raise BadCampaign([Fault("--at", past)])
    return campaign.next_at or now


def _refuses_all(connection: Connection, audience_id: int, text: Text) -> str | None:
    """Why the text cannot be made of the first members, if it can be made of none of them."""
    why = None
    for member in audiences.members_after(connection, audience_id, 0, most=TRIED):
        try:
            text.render(member.fields)
        except RowRefused as refusal:
            why = why or f"line {member.line}: {refusal}"
        else:
            return None
    return why


def _zone(name: str, fault: Callable[[str, str], None]) -> ZoneInfo:
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError):
        fault("--zone", f"{name!r} is no time zone; write one like Asia/Shanghai")
        return ZoneInfo("UTC")


def _hours(written: str | None, fault: Callable[[str, str], None]) -> Hours | None:
    try:
        return read_hours(written) if written else None
    except ValueError as why:
        fault("--hours", f"{written!r}: {why}")
        return None


def _time(wish: Wish, zone: ZoneInfo, now: datetime, fault: Callable[[str, str], None]) -> datetime | None:
    """When the first run is due, where the wish says so."""
    if wish.at and wish.cron:
        fault("--at", "and --cron are two schedules; give one of them")
    if wish.cron:
        try:
            next_time(wish.cron, zone, now)
        except BadCron as why:
            fault("--cron", str(why))
    if not wish.at:
        return None
    try:
        at = datetime.fromisoformat(wish.at)
    except ValueError:
        fault("--at", f"{wish.at!r} is no time; write one like 2026-12-01T09:00")
        return None
    at = at if at.tzinfo else at.replace(tzinfo=zone)
    if at < now - PAST_GRACE:
        fault("--at", f"{at.isoformat()} is past; give a time to come, or leave it out to start it by hand")
    return at


def _share(written: str | None, field: str, fault: Callable[[str, str], None]) -> float | None:
    if written is None:
        return None
    found = _SHARE.fullmatch(written.strip())
    share = float(found[1]) / 100 if found else 0
    if not 0 < share < 1:
        fault(field, f"{written!r} is no share; write one like 1% or 0.5%")
    return share

"""Draft: reads what a person wants of a campaign, with every fault at once, and keeps it as a draft."""

from collections.abc import Mapping
from datetime import datetime, tzinfo
from zoneinfo import ZoneInfo

from sqlalchemy import Connection

from worker.campaigns.cron import next_time
from worker.campaigns.spec import CampaignSpec, read_own_hours, read_share, read_time, read_zone
from worker.campaigns.template import CompiledText, RowRefused, TemplateFault, compile_text
from worker.domain.campaigns.audience import Audience
from worker.domain.campaigns.campaign import Campaign, hours_of, name_faults, window
from worker.domain.hours import Hours
from worker.domain.lane import Lane
from worker.domain.message import Fault
from worker.domain.read_message import PAST_GRACE
from worker.ledger.campaigns import audiences, campaigns
from worker.ledger.sending import accounts

TRIED = 1000
"""This many members are tried before a text is kept. If none of them makes one, none of the others will."""


class BadCampaign(ValueError):
    """The campaign is refused, and nothing was kept. The text says everything that is wrong with it."""

    def __init__(self, faults: list[Fault]) -> None:
        self.faults = tuple(faults)
        super().__init__("refused, nothing was kept: " + "; ".join(map(str, faults)))


def draft(
    connection: Connection,
    spec: CampaignSpec,
    *,
    lanes: Mapping[str, Lane],
    zones: Mapping[str, ZoneInfo],
    by: str,
    now: datetime,
) -> Campaign:
    """Keeps the campaign as a draft, and returns it.

    `zones` are the time zones of the accounts, as far as they are known. Raises BadCampaign.
    """
    faults: list[Fault] = []
    values = _values(connection, spec, lanes, zones, now, faults)
    if faults:
        raise BadCampaign(faults)
    campaign_id = campaigns.add(connection, values, by=by, now=now)
    kept = None if campaign_id is None else campaigns.get(connection, campaign_id)
    if kept is None:
        raise BadCampaign([Fault("name", f"{spec.name!r} was taken by somebody else just now; give another")])
    return kept


def _values(
    connection: Connection,
    spec: CampaignSpec,
    lanes: Mapping[str, Lane],
    zones: Mapping[str, ZoneInfo],
    now: datetime,
    faults: list[Fault],
) -> dict[str, object]:
    """Reads the spec into the columns of the table, and adds everything that is wrong with it to `faults`."""
    _check_name(connection, spec.name, faults)
    account_id = _account_id(connection, spec.account, faults)
    audience = _audience(connection, spec, faults)
    zone = read_zone(spec, faults)
    own_hours = read_own_hours(spec, faults)
    _check_hours(spec, hours_of(lanes[spec.lane].hours, zones.get(spec.account, zone), own_hours, zone), now, faults)
    return {
        "name": spec.name,
        "account_id": account_id,
        "lane": spec.lane,
        "audience_id": audience and audience.id,
        "content": spec.content,
        "next_at": read_time(spec, zone, now, faults),
        "cron": spec.cron,
        "time_zone": zone.key,
        "hours": spec.hours,
        "leftover": spec.leftover,
        "missed": spec.missed,
        "first_share": read_share(spec.first, "--first", faults),
        "stop_share": read_share(spec.stop_at, "--stop-at", faults),
    }


def start_time(campaign: Campaign, *, now: datetime) -> datetime:
    """Returns when the first run of a draft is due if it is started now. Raises BadCampaign where that is past."""
    if campaign.cron:
        return next_time(campaign.cron, ZoneInfo(campaign.time_zone), now)
    if campaign.next_at and campaign.next_at < now - PAST_GRACE:
        past = f"{campaign.next_at.astimezone(ZoneInfo(campaign.time_zone)).isoformat()} is past; start it with --now"
        raise BadCampaign([Fault("--at", past)])
    return campaign.next_at or now


def _check_name(connection: Connection, name: str, faults: list[Fault]) -> None:
    faults += [Fault("name", text) for text in name_faults(name)]
    if not faults and campaigns.find(connection, name):
        faults.append(Fault("name", f"{name!r} is taken; give another, or see `sms campaign show {name}`"))


def _account_id(connection: Connection, account: str, faults: list[Fault]) -> int | None:
    ids = accounts.ids(connection)
    if account not in ids:
        names = ", ".join(sorted(ids)) or "none yet: start a worker"
        faults.append(Fault("--account", f"{account!r} is unknown; the accounts are: {names}"))
    return ids.get(account)


def _audience(connection: Connection, spec: CampaignSpec, faults: list[Fault]) -> Audience | None:
    """The audience, for which the text can be made. It stays until the transaction is over."""
    audience = audiences.find(connection, spec.audience, to_use=True)
    if audience is None or not audience.ready:
        names = ", ".join(known.name for known in audiences.listed(connection) if known.ready)
        unknown = (
            f"{spec.audience!r} is not an audience; the audiences are: {names or 'none yet'}: `sms audience import`"
        )
        faults.append(Fault("--audience", unknown))
        return None
    try:
        refusal = _refused_by_all(connection, audience.id, compile_text(spec.content, audience.header))
    except TemplateFault as error:
        faults += [Fault("--text", fault) for fault in error.faults]
    else:
        if refusal is not None:
            faults.append(Fault("--text", f"makes no text of any row: {refusal}"))
    return audience


def _refused_by_all(connection: Connection, audience_id: int, text: CompiledText) -> str | None:
    """Returns why the first member makes no text, if none of the first members makes one."""
    reason = None
    for member in audiences.members_after(connection, audience_id, 0, most=TRIED):
        try:
            text.render(member.fields)
        except RowRefused as error:
            reason = reason or f"line {member.line}: {error}"
        else:
            return None
    return reason


def _check_hours(spec: CampaignSpec, hours: list[tuple[Hours, tzinfo]], now: datetime, faults: list[Fault]) -> None:
    if window(hours, now) is None:
        text = f"{spec.hours} have no moment in common with the hours of lane {spec.lane}"
        faults.append(Fault("--hours", text))

"""Preflight: what a campaign would do if it went now, by the rules that `feed` and `accept` go by. It changes nothing.

The audience is gone through a page at a time, so a million members take no more memory than a thousand.
"""

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, tzinfo
from zoneinfo import ZoneInfo

from sqlalchemy import Connection

from worker.campaigns.cron import next_time
from worker.campaigns.tally import (
    Rendered,
    Tally,
    add_recipients,
    add_texts,
    add_unrenderable,
    risk_counts,
    samples,
)
from worker.campaigns.template import CompiledText, RowRefused, compile_text
from worker.campaigns.window import hours_of_campaign
from worker.domain.campaigns.audience import Member
from worker.domain.campaigns.campaign import Campaign
from worker.domain.campaigns.forecast import Forecast, forecast
from worker.domain.campaigns.preflight import Preflight, Unrenderable
from worker.domain.caps import CapKey, Room
from worker.domain.lane import Lane
from worker.domain.rate import Rate
from worker.ledger.campaigns import audiences
from worker.ledger.sending import optouts

PAGE = 1000
"""The members of one page.

`feed` takes as many of a personal text: those with the same text share calls.
"""


@dataclass(frozen=True, slots=True)
class Rules:
    """The rules that a campaign would go by: those of its lane and of its account.

    `rate` has no limits where they are not known. `room` is None where nobody can be asked for the caps of the lane.
    """

    lane: Lane
    zone: tzinfo
    rate: Rate
    signature: str
    max_mobiles: int
    room: Room | None

    @property
    def mobiles_of_call(self) -> int:
        """How many mobiles one call may have."""
        return self.rate.largest_call(self.max_mobiles, self.lane.floor) if self.lane.shares_calls else 1

    @property
    def knows_caps(self) -> bool:
        return self.room is not None or not self.lane.caps


@dataclass(frozen=True, slots=True)
class Watch:
    """The callbacks of a preflight: for each member without a text, and for how many more members were gone through."""

    unrenderable: Callable[[Unrenderable], object]
    progress: Callable[[int], object]


def preflight(
    connection: Connection,
    campaign: Campaign,
    rules: Rules,
    *,
    watch: Watch,
    random: Callable[[], float],
    now: datetime,
) -> Preflight:
    """Returns what the campaign would do. `random` returns a number from 0 to 1. Raises TemplateFault."""
    text = compile_text(campaign.content, campaign.header)
    tally = Tally()
    for page in _pages(connection, campaign):
        rendered = _rendered(text, page, tally, watch)
        rendered = _without_optouts(connection, campaign, rules, rendered, tally)
        rendered = _without_capped(campaign, rules, rendered, tally)
        add_recipients(tally, rendered, random)
        add_texts(
            tally,
            rendered,
            signature=rules.signature,
            mobiles_of_call=rules.mobiles_of_call,
            marketing=rules.lane.heeds_optouts,
        )
        tally.members += len(page)
        watch.progress(len(page))
    return _summary(campaign, rules, tally, personal=text.personal, now=now)


def _summary(campaign: Campaign, rules: Rules, tally: Tally, *, personal: bool, now: datetime) -> Preflight:
    # One text for all goes in full calls, whatever the pages are.
    calls = tally.calls if personal else -(-tally.recipients // rules.mobiles_of_call)
    return Preflight(
        members=tally.members,
        unrenderable=dict(tally.unrenderable.most_common()),
        examples=tally.examples,
        opted_out=tally.opted_out,
        capped=tally.capped if rules.knows_caps else None,
        recipients=tally.recipients,
        personal=personal,
        segments=tally.segments,
        least=min(tally.lengths, default=0),
        mean=tally.segments / tally.recipients if tally.recipients else 0.0,
        most=max(tally.lengths, default=0),
        calls=calls,
        forecast=_forecast(campaign, rules, tally.recipients, calls, now),
        samples=samples(tally),
        noticed=risk_counts(tally),
    )


def _pages(connection: Connection, campaign: Campaign) -> Iterator[Sequence[Member]]:
    line = 0
    while page := audiences.members_after(connection, campaign.audience_id, line, most=PAGE):
        yield page
        line = page[-1].line


def _rendered(text: CompiledText, page: Sequence[Member], tally: Tally, watch: Watch) -> list[Rendered]:
    rendered = []
    for member in page:
        try:
            rendered.append((member, text.render(member.fields)))
        except RowRefused as error:
            unrenderable = Unrenderable(member.line, member.mobile, str(error))
            watch.unrenderable(unrenderable)
            add_unrenderable(tally, unrenderable)
    return rendered


def _without_optouts(
    connection: Connection, campaign: Campaign, rules: Rules, rendered: list[Rendered], tally: Tally
) -> list[Rendered]:
    if not (rules.lane.heeds_optouts and rendered):
        return rendered
    opted_out = optouts.opted_out(connection, campaign.account_id, [member.mobile for member, _ in rendered])
    kept = _without(rendered, opted_out)
    tally.opted_out += len(rendered) - len(kept)
    return kept


def _without_capped(campaign: Campaign, rules: Rules, rendered: list[Rendered], tally: Tally) -> list[Rendered]:
    if not (rules.lane.caps and rules.room and rendered):
        return rendered
    room = rules.room([CapKey(campaign.account, rules.lane.name, member.mobile) for member, _ in rendered])
    kept = _without(rendered, {capped.mobile for capped, times in room.items() if times < 1})
    tally.capped += len(rendered) - len(kept)
    return kept


def _without(rendered: Sequence[Rendered], mobiles: Collection[str]) -> list[Rendered]:
    return [(member, text) for member, text in rendered if member.mobile not in mobiles]


def _forecast(campaign: Campaign, rules: Rules, recipients: int, calls: int, now: datetime) -> Forecast:
    hours = hours_of_campaign(campaign, rules.lane, rules.zone)
    return forecast(recipients, calls, rules.rate, hours, _begins(campaign, now), campaign.leftover)


def _begins(campaign: Campaign, now: datetime) -> datetime:
    """When the campaign's next run would be due, were it started now."""
    if campaign.next_at is None and campaign.cron:
        return next_time(campaign.cron, ZoneInfo(campaign.time_zone), now)
    return max(campaign.next_at or now, now)

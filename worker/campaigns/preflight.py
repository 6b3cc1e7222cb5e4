"""Preflight: what a campaign would do if it went now, by the rules that `launch` and `accept` go by. It reads, and changes nothing.

The audience is gone through a page at a time, so a million members take no more memory than a thousand.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, tzinfo
from zoneinfo import ZoneInfo

from sqlalchemy import Connection

from worker.campaigns.cron import next_time
from worker.campaigns.template import RowRefused, Text, compile_text
from worker.domain.campaigns.audience import Member
from worker.domain.campaigns.campaign import Campaign, hours_of
from worker.domain.campaigns.forecast import Forecast, forecast
from worker.domain.caps import Capped
from worker.domain.hours import read_hours
from worker.domain.lane import Lane
from worker.domain.rate import Rate
from worker.domain.text import Risk, segments, units, warnings
from worker.ledger.campaigns import audiences
from worker.ledger.sending import optouts

PAGE = 1000
"""Members that are looked at at a time. `launch` takes as many of a personal text: those with the same text share calls."""
EXAMPLES = 3
REASONS = 20
"""So many reasons are told apart: a few say it all, and nobody may fill the memory with them."""
OTHER = "for another reason"

RANDOM = 3
"""Samples that are picked at random."""

Made = tuple[Member, str]
"""A member and the text for it."""

Room = Callable[[Collection[Capped]], dict[Capped, int]]
"""How often each of them may still be sent to."""


@dataclass(frozen=True, slots=True)
class Unmade:
    """A member whose row makes no text that can be sent, and why."""

    line: int
    mobile: str
    reason: str


@dataclass(frozen=True, slots=True)
class Sample:
    """The text that a member would get; `why` it is shown: as the first, the longest, or a random one."""

    why: str
    line: int
    mobile: str
    text: str


@dataclass(frozen=True, slots=True)
class Noticed:
    """What texts are warned of: in the words for the first of them, with its line, and how many there are."""

    risk: Risk
    warning: str
    line: int
    texts: int


@dataclass(frozen=True, slots=True)
class Preflight:
    """What a campaign would do if it went now."""

    members: int
    """Of its audience; each is one of those who follow."""
    unmade: dict[str, int]
    """How many make no text that can be sent, by reason, the most common first."""
    examples: list[Unmade]
    """The first few of each reason."""
    opted_out: int
    capped: int | None
    """How many have been sent to as often as the lane allows; None where nobody could be asked: those are among `recipients`."""
    recipients: int
    personal: bool
    """Whether the text differs from one to the other."""
    segments: int
    """Of all texts, with the signature: so many are paid for."""
    least: int
    mean: float
    most: int
    """Segments of one text; 0 where there is none."""
    calls: int
    forecast: Forecast
    samples: list[Sample]
    noticed: list[Noticed]


@dataclass(slots=True)
class _Tally:
    """What has been counted so far."""

    members: int = 0
    unmade: Counter[str] = field(default_factory=Counter)
    examples: list[Unmade] = field(default_factory=list)
    opted_out: int = 0
    capped: int = 0
    recipients: int = 0
    lengths: Counter[int] = field(default_factory=Counter)
    """How many texts have so many segments."""
    calls: int = 0
    first: Sample | None = None
    longest: Sample | None = None
    most_units: int = 0
    """Of the longest text."""
    random: list[Sample] = field(default_factory=list)
    warned: Counter[Risk] = field(default_factory=Counter)
    """Texts."""
    warnings: dict[Risk, tuple[str, int]] = field(default_factory=dict)
    """The first of each kind, and its line."""


def preflight(
    connection: Connection,
    campaign: Campaign,
    *,
    lane: Lane,
    zone: tzinfo,
    rate: Rate,
    signature: str,
    max_mobiles: int,
    room: Room | None,
    random: Callable[[], float],
    tell: Callable[[Unmade], object],
    progress: Callable[[int], object],
    now: datetime,
) -> Preflight:
    """What the campaign would do. `zone`, `rate` and `signature` are its account's, the rate without limits where nobody knows it.

    `room` is None where nobody can be asked for the caps of the lane. `tell` is told each row that makes no text, and `progress` how many
    members more have been gone through. Raises TemplateFault.
    """
    text = compile_text(campaign.content, campaign.header)
    most_mobiles = rate.largest_call(max_mobiles, lane.floor) if lane.shares_calls else 1
    tally = _Tally()
    for page in _pages(connection, campaign):
        made = _let_through(connection, campaign, lane, room, _made(text, page, tally, tell), tally)
        _count(made, tally, signature, most_mobiles, random, marketing=lane.heeds_optouts)
        tally.members += len(page)
        progress(len(page))
    # One text for all goes in full calls, whatever the pages are.
    calls = tally.calls if text.personal else -(-tally.recipients // most_mobiles)
    own = read_hours(campaign.hours) if campaign.hours else None
    hours = hours_of(lane.hours, zone, own, ZoneInfo(campaign.time_zone))
    paid = sum(length * texts for length, texts in tally.lengths.items())
    return Preflight(
        members=tally.members,
        unmade=dict(tally.unmade.most_common()),
        examples=tally.examples,
        opted_out=tally.opted_out,
        capped=None if lane.caps and room is None else tally.capped,
        recipients=tally.recipients,
        personal=text.personal,
        segments=paid,
        least=min(tally.lengths, default=0),
        mean=paid / tally.recipients if tally.recipients else 0.0,
        most=max(tally.lengths, default=0),
        calls=calls,
        forecast=forecast(tally.recipients, calls, rate, hours, _begins(campaign, now), campaign.leftover),
        samples=_samples(tally),
        noticed=[Noticed(risk, *first, tally.warned[risk]) for risk, first in tally.warnings.items()],
    )


def _pages(connection: Connection, campaign: Campaign) -> Iterator[Sequence[Member]]:
    line = 0
    while page := audiences.members_after(connection, campaign.audience_id, line, most=PAGE):
        yield page
        line = page[-1].line


def _made(text: Text, page: Sequence[Member], tally: _Tally, tell: Callable[[Unmade], object]) -> list[Made]:
    made = []
    for member in page:
        try:
            made.append((member, text.render(member.fields)))
        except RowRefused as why:
            unmade = Unmade(member.line, member.mobile, str(why))
            tell(unmade)
            reason = unmade.reason if unmade.reason in tally.unmade or len(tally.unmade) < REASONS else OTHER
            tally.unmade[reason] += 1
            if tally.unmade[reason] <= EXAMPLES:
                tally.examples.append(unmade)
    return made


def _let_through(
    connection: Connection, campaign: Campaign, lane: Lane, room: Room | None, made: list[Made], tally: _Tally
) -> list[Made]:
    """Those whom neither their opt-out nor the caps of the lane leave out."""
    if lane.heeds_optouts and made:
        gone = optouts.of(connection, campaign.account_id, [member.mobile for member, _ in made])
        made, tally.opted_out = _without(gone, made, tally.opted_out)
    if lane.caps and room and made:
        left = room([Capped(campaign.account, lane.name, member.mobile) for member, _ in made])
        full = {one.mobile for one, times in left.items() if times < 1}
        made, tally.capped = _without(full, made, tally.capped)
    return made


def _without(some: Collection[str], made: Sequence[Made], so_far: int) -> tuple[list[Made], int]:
    """Those who are none of these mobiles; and how many were left out, with those before."""
    kept = [one for one in made if one[0].mobile not in some]
    return kept, so_far + len(made) - len(kept)


def _count(
    made: Sequence[Made],
    tally: _Tally,
    signature: str,
    most_mobiles: int,
    random: Callable[[], float],
    *,
    marketing: bool,
) -> None:
    """Counts those who would be sent to; looks at each text once, however many of them get it."""
    same: defaultdict[str, list[Member]] = defaultdict(list)
    for member, text in made:
        same[text].append(member)
        # Each of those so far has the same chance to be among the few.
        tally.recipients += 1
        place = int(random() * tally.recipients)
        if len(tally.random) < RANDOM:
            tally.random.append(Sample("random", member.line, member.mobile, text))
        elif place < RANDOM:
            tally.random[place] = Sample("random", member.line, member.mobile, text)
    for text, members in same.items():
        first = members[0]
        tally.lengths[segments(text, signature)] += len(members)
        tally.calls += -(-len(members) // most_mobiles)
        tally.first = tally.first or Sample("first", first.line, first.mobile, text)
        if (length := units(text)) > tally.most_units:
            tally.most_units, tally.longest = length, Sample("longest", first.line, first.mobile, text)
        for risk, warning in warnings(text, marketing=marketing):
            tally.warned[risk] += len(members)
            tally.warnings.setdefault(risk, (warning, first.line))


def _samples(tally: _Tally) -> list[Sample]:
    """A few texts, none twice."""
    samples: dict[str, Sample] = {}
    for one in (tally.first, tally.longest, *tally.random):
        if one:
            samples.setdefault(one.text, one)
    return list(samples.values())


def _begins(campaign: Campaign, now: datetime) -> datetime:
    """When its next run would be due, were it started now."""
    if campaign.next_at is None and campaign.cron:
        return next_time(campaign.cron, ZoneInfo(campaign.time_zone), now)
    return max(campaign.next_at or now, now)

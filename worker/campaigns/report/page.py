"""Report: a campaign as one page of HTML to be read, passed on and printed. It needs nothing else: no script, no network.

Charts are drawn in percent across and in pixels down: so they fill a phone as well as a desk, and the text in them keeps its size.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cache
from pathlib import Path
from zoneinfo import ZoneInfo

from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template

from worker.domain.campaigns.audience import Audience
from worker.domain.campaigns.campaign import Campaign, Run
from worker.domain.campaigns.figures import Figures
from worker.domain.campaigns.report import Bucket, ByPrefix, ByResult, CampaignReport, OverTime
from worker.domain.carrier import carrier_of
from worker.domain.escape import escaped
from worker.domain.status import Report, State, Suppression
from worker.gateway.codes import BY_NUMBER

TEMPLATE = Path(__file__).with_suffix(".html")
PREFIXES_DRAWN = 15
"""Prefixes in the chart, the most frequent; the table below it has all."""
CHART_HEIGHT = 180
"""Of the chart over time, in pixels."""
_DAY = timedelta(days=1)

LEFT_OUT = {
    Suppression.OPTOUT: "They want no marketing: they opted out before it was their turn.",
    Suppression.CAP: "They had been sent to as often as the caps of the lane allow.",
}
NO_TEXT = "Their row makes no text that can be sent; “sms campaign check” names the rows."
EXPIRED = "The time to send to them was over before it was their turn."
CANCELLED = "The campaign was called off before it was their turn."


@dataclass(frozen=True, slots=True)
class Share:
    """A part of a whole: the class that has its colour, how many, and where it begins and how wide it is, in percent."""

    kind: str
    name: str
    count: int
    x: float
    width: float


@dataclass(frozen=True, slots=True)
class Bar:
    """A bar across, with the words above it, left and right."""

    label: str
    value: str
    shares: tuple[Share, ...]


@dataclass(frozen=True, slots=True)
class Block:
    """A part of a column: `x` and `width` in percent, `y` and `height` in pixels from the top."""

    kind: str
    x: float
    width: float
    y: float
    height: float


@dataclass(frozen=True, slots=True)
class Column:
    """What happened in one step: its time, the numbers, and how they are drawn."""

    label: str
    bucket: Bucket
    blocks: tuple[Block, ...]


@dataclass(frozen=True, slots=True)
class Mark:
    """Where something is written along an axis: in percent across, or in pixels down."""

    at: float
    text: str


@dataclass(frozen=True, slots=True)
class TimeChart:
    columns: tuple[Column, ...]
    rules: tuple[Mark, ...]
    times: tuple[Mark, ...]
    step: str
    later: Bucket


def html(campaign: Campaign, audience: Audience, of: Sequence[Run], told: CampaignReport, *, now: datetime) -> str:
    """The page about these runs of the campaign, as they stood at `now`."""
    zone = ZoneInfo(campaign.time_zone)
    return _template().render(
        campaign=campaign,
        audience=audience,
        runs=of,
        figures=told.figures,
        cards=_cards(told.figures),
        whole=_whole(told.figures),
        over_time=told.over_time and _time_chart(told.over_time, zone),
        results=_result_bars(told),
        prefixes=tuple(_prefix_bar(one) for one in told.prefixes[:PREFIXES_DRAWN]),
        all_prefixes=[(one, carrier_of(one.prefix)) for one in told.prefixes],
        left_out=list(_left_out(campaign, of, told.figures)),
        local=lambda moment: f"{moment.astimezone(zone):%Y-%m-%d %H:%M}",
        share=_percent,
        zone=f"{now.astimezone(zone):%Z}",
        now=now,
        height=CHART_HEIGHT,
    )


@cache
def _template() -> Template:
    environment = Environment(
        loader=FileSystemLoader(TEMPLATE.parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_printable,
    )
    environment.filters["number"] = lambda count: f"{count:,}"
    return environment.get_template(TEMPLATE.name)


def _printable(value: object) -> object:
    # Strangers wrote some of it, and there are characters that no page may have.
    return escaped(value, keep="\t\n\r") if type(value) is str else value


def _percent(part: int, whole: int) -> str:
    if not whole:
        return "–"
    return "<0.1%" if 0 < part / whole < 0.0005 else f"{part / whole:.1%}"


def _cards(figures: Figures) -> list[tuple[str, str, str, str]]:
    """The key figures, the most important first: class, name, the figure, and what it is of."""
    sent = figures.sent
    cards = [
        ("delivered", "Delivered", f"{figures.delivered:,}", f"{_percent(figures.delivered, sent)} of sent"),
        ("sent", "Sent", f"{sent:,}", f"{_percent(sent, figures.members)} of members"),
        ("failed", "Failed", f"{figures.failed:,}", "undelivered or rejected"),
        ("unknown", "Unknown", f"{figures.unknown:,}", "no answer from the gateway"),
        ("left-out", "Left out", f"{figures.left_out:,}", f"{_percent(figures.left_out, figures.members)} of members"),
        ("replies", "Replies", f"{figures.replies:,}", f"{_percent(figures.replies, sent)} of sent"),
        ("optouts", "Opt-outs", f"{figures.optouts:,}", f"{_percent(figures.optouts, sent)} of sent"),
    ]
    if figures.waiting:
        cards.insert(
            2,
            (
                "queued",
                "To be sent",
                f"{figures.waiting:,}",
                f"{_percent(figures.waiting, figures.members)} of members",
            ),
        )
    return cards


def _shares(parts: Sequence[tuple[str, str, int]], whole: int, full: float = 100) -> tuple[Share, ...]:
    """The parts (class, name, count) side by side: of a whole that is `full` percent wide."""
    shares = []
    x = 0.0
    for kind, name, count in parts:
        width = full * count / whole if whole else 0.0
        shares.append(Share(kind, name, count, round(x, 3), round(width, 3)))
        x += width
    return tuple(shares)


def _whole(figures: Figures) -> tuple[Share, ...]:
    """What became of all members; each of them is in one part."""
    parts = (
        ("delivered", "delivered", figures.delivered),
        ("unreported", "sent, no report", figures.unreported),
        ("failed", "undelivered", figures.statuses.get(Report.UNDELIVERED, 0)),
        ("rejected", "rejected", figures.statuses.get(State.REJECTED, 0)),
        ("unknown", "unknown", figures.unknown),
        ("left-out", "left out", figures.left_out),
        ("queued", "to be sent", figures.waiting),
    )
    return _shares([part for part in parts if part[2]], figures.members)


def _time_chart(told: OverTime, zone: ZoneInfo) -> TimeChart:
    top = _round_up(max(max(one.called, one.delivered + one.undelivered) for one in told.buckets))
    width = 100 / len(told.buckets)
    first, last = told.buckets[0].at.astimezone(zone), told.buckets[-1].at.astimezone(zone)
    form = "%m-%d" if told.step >= _DAY else "%H:%M" if first.date() == last.date() else "%m-%d %H:%M"

    def column(place: int, bucket: Bucket) -> Column:
        blocks, base = [], float(CHART_HEIGHT)
        for kind, count in (("delivered", bucket.delivered), ("failed", bucket.undelivered)):
            height = CHART_HEIGHT * count / top
            base -= height
            blocks.append(Block(kind, (place + 0.18) * width, 0.64 * width, base, height))
        called = CHART_HEIGHT * bucket.called / top
        back = Block("called", (place + 0.04) * width, 0.92 * width, CHART_HEIGHT - called, called)
        return Column(f"{bucket.at.astimezone(zone):{form}}", bucket, (back, *blocks))

    columns = tuple(column(place, bucket) for place, bucket in enumerate(told.buckets))
    # Some four of them have room on a phone.
    every = -(-len(columns) // 4)
    times = (Mark(place * width, columns[place].label) for place in range(0, len(columns), every))
    rules = (Mark(CHART_HEIGHT * (1 - part), f"{top * part:,.0f}") for part in (1, 0.5, 0))
    return TimeChart(columns, tuple(rules), tuple(times), _length(told.step), told.later)


def _round_up(count: int) -> int:
    """The next number that one likes to read at an axis: 2, 4, 6, 8 or 10 times a power of ten; even."""
    power: int = 10 ** max(0, len(str(max(count, 1))) - 1)
    return next(power * times for times in (2, 4, 6, 8, 10, 20) if power * times >= count)


def _length(step: timedelta) -> str:
    for seconds, name in ((86400, "day"), (3600, "hour"), (60, "minute")):
        count, rest = divmod(int(step.total_seconds()), seconds)
        if count and not rest:
            return name if count == 1 else f"{count} {name}s"
    return f"{step}"


def _result_bars(told: CampaignReport) -> tuple[Bar, ...]:
    whole = sum(one.recipients for one in told.results) + told.other_results
    top = max((one.recipients for one in told.results), default=0)

    def bar(kind: str, label: str, count: int) -> Bar:
        return Bar(label, f"{count:,} · {_percent(count, whole)}", _shares([(kind, label, count)], max(top, count)))

    bars = [bar(_kind(one), _said(one), one.recipients) for one in told.results]
    return (*bars, *([bar("left-out", "other answers", told.other_results)] if told.other_results else []))


def _kind(one: ByResult) -> str:
    return "unknown" if one.result is None else "delivered" if one.result == "1" else "rejected"


def _said(one: ByResult) -> str:
    if one.result is None:
        return f"no answer: {one.tips}" if one.tips else "no answer"
    code = BY_NUMBER.get(int(one.result)) if re.fullmatch(r"-?[0-9]{1,3}", one.result) else None
    return f"{one.result} {one.tips or (code.text if code else '')}".strip()


def _prefix_bar(one: ByPrefix) -> Bar:
    rest = one.called - one.delivered - one.undelivered
    parts = (
        ("delivered", "delivered", one.delivered),
        ("failed", "undelivered", one.undelivered),
        ("unreported", "neither", rest),
    )
    label = f"{one.prefix} {carrier_of(one.prefix)}"
    return Bar(label, f"{_percent(one.delivered, one.called)} of {one.called:,}", _shares(parts, one.called))


def _left_out(campaign: Campaign, of: Sequence[Run], figures: Figures) -> Iterator[tuple[str, int, str]]:
    """Who was left out: in a word, how many, and why."""
    for reason, count in figures.suppressed.items():
        yield reason, count, LEFT_OUT.get(Suppression(reason), "")
    if figures.unrenderable:
        yield "no text", figures.unrenderable, NO_TEXT
    ended = dict.fromkeys(run.reason for run in of if run.reason)
    if campaign.reason:
        ended[campaign.reason] = None
    for status, why in ((State.EXPIRED, EXPIRED), (State.CANCELLED, CANCELLED)):
        if count := figures.statuses.get(status, 0):
            yield status, count, " ".join([why, *(f"It was said: {reason}." for reason in ended)])

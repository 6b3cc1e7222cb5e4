"""The charts of a report, as numbers: in percent across and in pixels down.

So they fill a phone as well as a desk, and the text in them keeps its size.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from worker.domain.campaigns.figures import Figures
from worker.domain.campaigns.report import Bucket, ByPrefix, ByResult, CampaignReport, OverTime
from worker.domain.carrier import carrier_of
from worker.domain.status import Report, State
from worker.gateway.codes import BY_NUMBER

CHART_HEIGHT = 180
"""The height of the chart over time, in pixels."""
_DAY = timedelta(days=1)


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
    """A text along an axis, and its place: in percent across, or in pixels down."""

    at: float
    text: str


@dataclass(frozen=True, slots=True)
class TimeChart:
    columns: tuple[Column, ...]
    rules: tuple[Mark, ...]
    times: tuple[Mark, ...]
    step: str
    later: Bucket


def percent(part: int, whole: int) -> str:
    """Returns a share like `12.3%`, or a dash where the whole is 0."""
    if not whole:
        return "–"
    return "<0.1%" if 0 < part / whole < 0.0005 else f"{part / whole:.1%}"


def _shares(parts: Sequence[tuple[str, str, int]], whole: int) -> tuple[Share, ...]:
    """The parts (class, name, count) of a whole, side by side."""
    shares = []
    x = 0.0
    for kind, name, count in parts:
        width = 100.0 * count / whole if whole else 0.0
        shares.append(Share(kind, name, count, round(x, 3), round(width, 3)))
        x += width
    return tuple(shares)


def member_shares(figures: Figures) -> tuple[Share, ...]:
    """Returns what became of all members; each of them is in one part."""
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


def time_chart(over_time: OverTime, zone: ZoneInfo) -> TimeChart:
    """Returns the chart over time: a column a step, three rules across, and about four times below."""
    buckets = over_time.buckets
    top = _round_up(max(max(bucket.called, bucket.delivered + bucket.undelivered) for bucket in buckets))
    width = 100 / len(buckets)
    form = _time_format(buckets[0].at.astimezone(zone), buckets[-1].at.astimezone(zone), over_time.step)
    columns = tuple(
        Column(f"{bucket.at.astimezone(zone):{form}}", bucket, _blocks(bucket, place * width, width, top))
        for place, bucket in enumerate(buckets)
    )
    # A phone has room for about four.
    every = -(-len(columns) // 4)
    times = (Mark(place * width, columns[place].label) for place in range(0, len(columns), every))
    rules = (Mark(CHART_HEIGHT * (1 - part), f"{top * part:,.0f}") for part in (1, 0.5, 0))
    return TimeChart(columns, tuple(rules), tuple(times), _length(over_time.step), over_time.later)


def _time_format(first: datetime, last: datetime, step: timedelta) -> str:
    if step >= _DAY:
        return "%m-%d"
    return "%H:%M" if first.date() == last.date() else "%m-%d %H:%M"


def _blocks(bucket: Bucket, x: float, width: float, top: int) -> tuple[Block, ...]:
    """The wide block of the recipients called, and before it the narrow ones of those reported on, one upon the other."""
    called = CHART_HEIGHT * bucket.called / top
    blocks = [Block("called", x + 0.04 * width, 0.92 * width, CHART_HEIGHT - called, called)]
    base = float(CHART_HEIGHT)
    for kind, count in (("delivered", bucket.delivered), ("failed", bucket.undelivered)):
        height = CHART_HEIGHT * count / top
        base -= height
        blocks.append(Block(kind, x + 0.18 * width, 0.64 * width, base, height))
    return tuple(blocks)


def _round_up(count: int) -> int:
    """Returns the next number that reads well at an axis: 2, 4, 6, 8 or 10 times a power of ten, and even."""
    power: int = 10 ** max(0, len(str(max(count, 1))) - 1)
    return next(power * times for times in (2, 4, 6, 8, 10, 20) if power * times >= count)


def _length(step: timedelta) -> str:
    for seconds, name in ((86400, "day"), (3600, "hour"), (60, "minute")):
        count, rest = divmod(int(step.total_seconds()), seconds)
        if count and not rest:
            return name if count == 1 else f"{count} {name}s"
    return f"{step}"


def result_bars(report: CampaignReport) -> tuple[Bar, ...]:
    """Returns a bar for each of the gateway's most frequent answers, and one for the others."""
    whole = sum(result.recipients for result in report.results) + report.other_results
    top = max((result.recipients for result in report.results), default=0)

    def bar(kind: str, label: str, count: int) -> Bar:
        return Bar(label, f"{count:,} · {percent(count, whole)}", _shares([(kind, label, count)], max(top, count)))

    bars = [bar(_kind(result), _label(result), result.recipients) for result in report.results]
    return (*bars, *([bar("left-out", "other answers", report.other_results)] if report.other_results else []))


def _kind(result: ByResult) -> str:
    return "unknown" if result.result is None else "delivered" if result.result == "1" else "rejected"


def _label(result: ByResult) -> str:
    if result.result is None:
        return f"no answer: {result.tips}" if result.tips else "no answer"
    code = BY_NUMBER.get(int(result.result)) if re.fullmatch(r"-?[0-9]{1,3}", result.result) else None
    return f"{result.result} {result.tips or (code.text if code else '')}".strip()


def prefix_bar(prefix: ByPrefix) -> Bar:
    """Returns the bar of a prefix: the shares of its recipients delivered, undelivered and neither."""
    rest = prefix.called - prefix.delivered - prefix.undelivered
    parts = (
        ("delivered", "delivered", prefix.delivered),
        ("failed", "undelivered", prefix.undelivered),
        ("unreported", "neither", rest),
    )
    label = f"{prefix.prefix} {carrier_of(prefix.prefix)}"
    value = f"{percent(prefix.delivered, prefix.called)} of {prefix.called:,}"
    return Bar(label, value, _shares(parts, prefix.called))

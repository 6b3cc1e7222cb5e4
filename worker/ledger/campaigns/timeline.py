"""Campaigns over time: the steps that fit the length of a run, and what happened in each."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from sqlalchemy import BigInteger, ColumnElement, Connection, case, cast, extract, func, select

from worker.domain.campaigns.figures import CallTimes
from worker.domain.campaigns.report import Bucket, OverTime
from worker.domain.status import Report, State
from worker.ledger import tables as t
from worker.ledger.campaigns.span import CALLED, Span, submissions_of

_STEPS = (60, 300, 600, 1800, 3600, 3 * 3600, 6 * 3600, 12 * 3600, 86400, 7 * 86400, 30 * 86400)
_MOST_STEPS = 40


@dataclass(frozen=True, slots=True)
class Scale:
    """Steps of `step` seconds, from `start` on. `start_second` is the start in seconds since 1970.

    One more step, after the last, holds what comes later.
    """

    start: datetime
    start_second: int
    step: int
    steps: int

    def number_of(self, seconds: ColumnElement[int]) -> ColumnElement[int]:
        """The number of the step that this second is in. A second before the first step counts as one in it."""
        since = seconds - self.start_second
        return case((since < 0, 0), (since >= self.step * self.steps, self.steps), else_=since // self.step)


def scale_of(calls: CallTimes, zone: ZoneInfo) -> Scale | None:
    """Returns the steps for these calls, and some more for the reports after the last. None where no call was made."""
    if calls.first is None or calls.last is None:
        return None
    first = calls.first.astimezone(zone)
    midnight = first.replace(hour=0, minute=0, second=0, microsecond=0, fold=0)
    for step in _STEPS:
        start = midnight + (first - midnight) // timedelta(seconds=step) * timedelta(seconds=step)
        steps = (calls.last - start) // timedelta(seconds=step) + 1
        if steps <= _MOST_STEPS:
            break
    return Scale(start, int(start.timestamp()), step, steps + max(5, steps // 4))


def second_of(connection: Connection, column: ColumnElement[Any]) -> ColumnElement[int]:
    """The second since 1970 of a time: SQLite gives it whole."""
    seconds = extract("epoch", column)
    return cast(func.floor(seconds), BigInteger) if connection.dialect.name == "postgresql" else seconds


def called_by_step(connection: Connection, span: Span, scale: Scale, *, report_wait: timedelta) -> dict[int, int]:
    """Returns how many recipients were called in each step."""
    row = t.submissions.c
    waited = case((row.state == State.UNREPORTED, int(report_wait.total_seconds())), else_=0)
    step = scale.number_of(second_of(connection, row.updated_at) - waited)
    query = (
        select(step, func.sum(row.mobiles))
        .where(*submissions_of(span.run_ids, span.submissions), row.state.in_((*CALLED, State.UNREPORTED)))
        .group_by(step)
    )
    return {number: int(count) for number, count in connection.execute(query)}


def over_time(scale: Scale, called: Mapping[int, int], reported: Counter[tuple[str, int]]) -> OverTime:
    """Returns what happened in each step, without the empty steps at the end.

    `called` has recipients by step, `reported` by status and step.
    """
    *buckets, later = (
        Bucket(
            _start_of(scale, step),
            called.get(step, 0),
            reported[Report.DELIVERED, step],
            reported[Report.UNDELIVERED, step],
        )
        for step in range(scale.steps + 1)
    )
    while len(buckets) > 1 and _is_empty(buckets[-1]):
        buckets.pop()
    return OverTime(timedelta(seconds=scale.step), tuple(buckets), later)


def _start_of(scale: Scale, step: int) -> datetime:
    # In UTC, for an hour of the zone may come twice, or not at all.
    begin = scale.start.astimezone(UTC) + step * timedelta(seconds=scale.step)
    return begin.astimezone(scale.start.tzinfo)


def _is_empty(bucket: Bucket) -> bool:
    return not (bucket.called or bucket.delivered or bucket.undelivered)

"""The span of some runs: between which numbers their messages, submissions and msgIds lie.

A million recipients are counted in about two seconds, and people look again and again while a campaign goes on. So the
view `recipient_status` is not asked: PostgreSQL knows nothing of where a run's recipients, submissions and reports lie.
It would read all there are, or go from one index to the next for each recipient. The rows of a run lie close together.
The ends of its span are asked for first; then only the rows between them are read, once each.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import BigInteger, ColumnElement, Connection, case, func, literal, null, select

from worker.domain.campaigns.campaign import Run, caller_of
from worker.domain.campaigns.figures import MINUTE, CallTimes
from worker.domain.status import State
from worker.ledger import tables as t

Ends = tuple[int | None, int | None]
"""The least and the greatest number, both included; None where there is nothing."""

CALLED = (State.ACCEPTED, State.REJECTED, State.UNKNOWN)
"""The states whose `updated_at` is when the call was over."""


@dataclass(frozen=True, slots=True)
class Span:
    """Between which numbers the rows of some runs lie, and when their calls were."""

    run_ids: Sequence[int]
    messages: Ends
    submissions: Ends
    msg_ids: Ends
    calls: CallTimes


def span_of(connection: Connection, runs: Sequence[Run], *, report_wait: timedelta, now: datetime) -> Span:
    """Returns the span of these runs. `report_wait` is how long a submission waits for its reports."""
    run_ids = [run.id for run in runs]
    messages = _messages(connection, run_ids)
    submissions = _submissions(connection, messages)
    rows = _by_state(connection, run_ids, submissions, now)
    return Span(
        run_ids=run_ids,
        messages=messages,
        submissions=submissions,
        msg_ids=(
            min((row.least for row in rows), default=None),
            max((row.greatest for row in rows), default=None),
        ),
        calls=_calls(rows, report_wait),
    )


def between(column: ColumnElement[Any], ends: Ends) -> ColumnElement[bool]:
    """Whether the column lies between these ends."""
    # In the text of the statement, so that PostgreSQL plans for these numbers, also where it is asked for the tenth
    # time.
    low, high = (null() if end is None else literal(end, BigInteger, literal_execute=True) for end in ends)
    return column.between(low, high)


def submissions_of(run_ids: Iterable[int], ends: Ends) -> tuple[ColumnElement[bool], ...]:
    """The conditions on the submissions of these runs, which lie between those ends."""
    return between(t.submissions.c.id, ends), t.submissions.c.caller.in_([caller_of(run_id) for run_id in run_ids])


def _messages(connection: Connection, run_ids: Sequence[int]) -> Ends:
    # Asked of each run by itself, either end is one look into the index.
    first_id, last_id = (
        select(end(t.messages.c.id)).where(t.messages.c.run_id == t.runs.c.id).scalar_subquery()
        for end in (func.min, func.max)
    )
    ends = select(func.min(first_id), func.max(last_id)).where(t.runs.c.id.in_(run_ids))
    first, last = connection.execute(ends).one()
    return first, last


def _submissions(connection: Connection, messages: Ends) -> Ends:
    column = t.recipients.c.submission_id
    ends = select(func.min(column), func.max(column)).where(between(t.recipients.c.message_id, messages))
    first, last = connection.execute(ends).one()
    return first, last


def _by_state(connection: Connection, run_ids: Sequence[int], submissions: Ends, now: datetime) -> Sequence[Any]:
    """The submissions' msgIds, the times of their last change, and the mobiles of the last minute, by state."""
    row = t.submissions.c
    recent = case((row.updated_at > now - MINUTE, row.mobiles), else_=0)
    query = (
        select(
            row.state,
            func.min(row.msg_id).label("least"),
            func.max(row.msg_id).label("greatest"),
            func.min(row.updated_at).label("first"),
            func.max(row.updated_at).label("last"),
            func.sum(recent).label("recent"),
        )
        .where(*submissions_of(run_ids, submissions))
        .group_by(row.state)
    )
    return connection.execute(query).all()


def _calls(rows: Sequence[Any], report_wait: timedelta) -> CallTimes:
    # A submission became unreported when the wait for its reports was over: that long after its call.
    waited = {State.UNREPORTED: report_wait} | dict.fromkeys(CALLED, timedelta(0))
    called = [row for row in rows if row.state in waited]
    return CallTimes(
        first=min((row.first - waited[row.state] for row in called), default=None),
        last=max((row.last - waited[row.state] for row in called), default=None),
        per_minute=sum(int(row.recent) for row in rows if row.state in CALLED),
    )

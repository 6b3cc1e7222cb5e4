"""The unknown recipients, which wait for a person: found, resent, or settled by a person's word. `domain.status` says
what unknown means.

A recipient is unknown if its submission is `unknown` and it has no report. One with a report is settled already.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Select,
    case,
    distinct,
    exists,
    func,
    literal,
    or_,
    select,
    true,
    tuple_,
    update,
)

from worker.domain.lane import Lane
from worker.domain.status import Report, State
from worker.ledger import tables as t
from worker.ledger.dialect import chunks, inlined, insert_new
from worker.ledger.sending.submissions import EACH_REPORTED


@dataclass(frozen=True, slots=True)
class UnknownFilter:
    """Selects unknown recipients: those of these messages and these (message, mobile) pairs, or all without either. The
    other fields narrow them.
    """

    ids: Collection[str] = ()
    pairs: Collection[tuple[str, str]] = ()
    lane: str | None = None
    account: str | None = None
    since: datetime | None = None
    submission_ids: Collection[int] | None = None
    """Only those of these submissions."""


@dataclass(frozen=True, slots=True)
class UnknownView:
    """A submission that has been unknown since then, with the number of its unknown recipients."""

    id: int
    message: str
    account: str
    lane: str
    msg_id: int
    recipients: int
    since: datetime
    resent: bool
    result: str | None
    tips: str | None


def newest(connection: Connection, which: UnknownFilter, *, limit: int) -> list[UnknownView]:
    """Returns the newest of the unknown submissions, the last first."""
    columns = (
        t.submissions.c.id,
        t.messages.c.public_id,
        t.accounts.c.name,
        t.submissions.c.lane,
        t.submissions.c.msg_id,
        func.count(),
        t.submissions.c.updated_at,
        t.submissions.c.resent,
        t.submissions.c.result,
        t.submissions.c.tips,
    )
    query = _unknown(select(*columns), which).group_by(t.submissions.c.id, t.messages.c.public_id, t.accounts.c.name)
    return [UnknownView(*row) for row in connection.execute(query.order_by(t.submissions.c.id.desc()).limit(limit))]


def count(connection: Connection, which: UnknownFilter) -> tuple[int, int]:
    """Returns how many submissions are unknown, and how many recipients."""
    query = _unknown(select(func.count(distinct(t.submissions.c.id)), func.count()), which)
    submissions, recipients = connection.execute(query).one()
    return submissions, recipients


def resend(connection: Connection, which: UnknownFilter, lanes: Mapping[str, Lane], *, now: datetime) -> int:
    """Holds the submissions to be resent at once, under the same msgId. Returns how many. Those of cancelled campaigns
    are left out.

    Each stays valid for as long as its message, but at least for as long as a new one of its lane.
    """
    at_least = case(
        {name: literal(now + lane.validity, t.submissions.c.expires_at.type) for name, lane in lanes.items()},
        value=t.submissions.c.lane,
        else_=t.submissions.c.expires_at,
    )
    statement = (
        update(t.submissions)
        .where(
            t.submissions.c.id.in_(_unknown(select(t.submissions.c.id), which)),
            t.submissions.c.state == State.UNKNOWN,
            ~t.submissions.c.called_off,
        )
        .values(
            state=State.HELD,
            due_at=now,
            resent=True,
            expires_at=case((t.submissions.c.expires_at < at_least, at_least), else_=t.submissions.c.expires_at),
            updated_at=now,
        )
    )
    return connection.execute(statement).rowcount


def may_be_resent(now: datetime) -> tuple[ColumnElement[bool], ...]:
    """Returns the conditions on which an unknown submission is resent without a person: it never was before, was not
    called off, and is still valid.
    """
    return ~t.submissions.c.resent, ~t.submissions.c.called_off, t.submissions.c.expires_at > now


def resend_probable(connection: Connection, submission_ids: Collection[int], *, now: datetime) -> int:
    """Holds those of the submissions to be resent at once that never were before, and are still valid. Returns how
    many.
    """
    return sum(
        connection.execute(
            update(t.submissions)
            .where(t.submissions.c.id.in_(chunk), t.submissions.c.state == State.UNKNOWN, *may_be_resent(now))
            .values(state=State.HELD, due_at=now, resent=True, updated_at=now)
        ).rowcount
        for chunk in chunks(submission_ids)
    )


LOOKED_AT_ONCE = 20_000
_UNKNOWN = t.submissions.c.state == inlined(State.UNKNOWN)
_MARK = t.marks.c.name == "settle"


def accept_reported(connection: Connection, *, now: datetime, most: int = LOOKED_AT_ONCE) -> int:
    """Accepts unknown submissions of which a recipient was reported: the gateway took them. Returns how many.

    The other recipients wait for their reports then. Each call looks at `most` unknown submissions, and the next call
    at those after them. So none escapes, whether the report or the end of the call came first, and by whatever clock.
    And a bad hour that left many unknown does not cost anew each minute.
    """
    after = connection.execute(select(t.marks.c.last_id).where(_MARK)).scalar_one()
    query = select(t.submissions.c.id).where(_UNKNOWN, t.submissions.c.id > after).order_by(t.submissions.c.id)
    page = query.limit(most).subquery()
    last, size = connection.execute(select(func.max(page.c.id), func.count())).one()
    connection.execute(update(t.marks).where(_MARK).values(last_id=last if size == most else 0))
    if not size:
        return 0
    reported = update(t.submissions).where(
        _UNKNOWN, t.submissions.c.id > after, t.submissions.c.id <= last, EACH_REPORTED
    )
    return connection.execute(reported.values(state=State.ACCEPTED, updated_at=now)).rowcount


def resolve(connection: Connection, which: UnknownFilter, report: Report, *, set_by: str, now: datetime) -> int:
    """Adds a report for each of the recipients, on a person's word. Returns how many. A later report of the gateway is
    kept beside it.
    """
    reports = _unknown(
        select(
            t.submissions.c.account_id,
            t.submissions.c.msg_id,
            t.recipients.c.mobile,
            literal(report),
            literal(set_by),
            literal(now, t.reports.c.received_at.type),
        ),
        which,
    )
    columns = ["account_id", "msg_id", "mobile", "status", "said_by", "received_at"]
    statement = insert_new(connection, t.reports).from_select(columns, reports)
    return connection.execute(statement, execution_options={"preserve_rowcount": True}).rowcount


def _unknown(query: Select[*tuple[Any, ...]], which: UnknownFilter) -> Select[*tuple[Any, ...]]:
    reported = exists().where(
        t.reports.c.account_id == t.submissions.c.account_id,
        t.reports.c.msg_id == t.submissions.c.msg_id,
        t.reports.c.mobile == t.recipients.c.mobile,
    )
    is_named = (
        t.messages.c.public_id.in_(which.ids),
        tuple_(t.messages.c.public_id, t.recipients.c.mobile).in_(which.pairs),
    )
    return (
        query.select_from(t.submissions)
        .join(t.recipients, t.recipients.c.submission_id == t.submissions.c.id)
        .join(t.messages, t.messages.c.id == t.recipients.c.message_id)
        .join(t.accounts, t.accounts.c.id == t.submissions.c.account_id)
        .where(
            t.submissions.c.state == inlined(State.UNKNOWN),
            ~reported,
            or_(*is_named) if which.ids or which.pairs else true(),
            t.submissions.c.lane == which.lane if which.lane else true(),
            t.accounts.c.name == which.account if which.account else true(),
            t.submissions.c.updated_at >= which.since if which.since else true(),
            t.submissions.c.id.in_(which.submission_ids) if which.submission_ids is not None else true(),
        )
    )

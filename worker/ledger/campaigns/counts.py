"""The recipients of some runs, counted by status, by prefix of the mobile, and by when they were reported on."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Integer,
    Select,
    String,
    Subquery,
    and_,
    case,
    cast,
    func,
    literal,
    null,
    select,
    text,
)

from worker.domain.carrier import PREFIX
from worker.domain.status import LeftOut, Report
from worker.ledger import tables as t
from worker.ledger.campaigns.span import Span, between, submissions_of
from worker.ledger.campaigns.timeline import Scale, second_of


@dataclass(frozen=True, slots=True)
class Count:
    """How many recipients with mobiles of that prefix have that status.

    `step` is when they were reported on, on a scale.
    """

    prefix: str
    status: str
    suppressed: str | None
    step: int | None
    recipients: int


def counts(connection: Connection, account_id: int, span: Span, scale: Scale | None = None) -> list[Count]:
    """Returns the recipients of the span, counted by the rule of `domain.status.recipient_status`.

    With a scale they are counted by prefix and step too, which takes half as long again.
    """
    prefix: ColumnElement[Any] = literal("", String)
    if scale:
        prefix = func.substr(t.recipients.c.mobile, 1, PREFIX)
    settled = _settled(account_id, span)
    step: ColumnElement[Any] = cast(null(), Integer)
    if scale:
        step = case((settled.c.at.is_not(None), scale.number_of(second_of(connection, settled.c.at))))
    with _each_read_once(connection):
        queries = _called(span, settled, prefix, step), _suppressed(span, prefix)
        return [Count(*row) for query in queries for row in connection.execute(query)]


def _settled(account_id: int, span: Span) -> Subquery:
    """The status that reports give to each msgId and mobile, and the time of the report that counts."""
    report = t.reports.c
    delivered = case((report.status == Report.DELIVERED, report.received_at))
    return (
        select(
            report.msg_id,
            report.mobile,
            # `delivered` wins over `undelivered`, and comes first in the alphabet too.
            func.min(report.status).label("status"),
            func.coalesce(func.min(delivered), func.min(report.received_at)).label("at"),
        )
        .where(report.account_id == account_id, between(report.msg_id, span.msg_ids))
        .group_by(report.msg_id, report.mobile)
        .subquery()
    )


def _called(span: Span, settled: Subquery, prefix: ColumnElement[Any], step: ColumnElement[Any]) -> Select[Any]:
    """Counts the recipients that have a submission."""
    submission, recipient = t.submissions.c, t.recipients.c
    return (
        select(
            prefix.label("of_prefix"),
            func.coalesce(settled.c.status, submission.state).label("of_status"),
            cast(null(), String),
            step.label("of_place"),
            func.count(),
        )
        .select_from(t.recipients)
        .join(t.submissions, submission.id == recipient.submission_id)
        .outerjoin(settled, and_(settled.c.msg_id == submission.msg_id, settled.c.mobile == recipient.mobile))
        .where(between(recipient.message_id, span.messages), *submissions_of(span.run_ids, span.submissions))
        .group_by("of_prefix", "of_status", "of_place")
    )


def _suppressed(span: Span, prefix: ColumnElement[Any]) -> Select[Any]:
    """Counts the recipients that were left out, by reason."""
    recipient = t.recipients.c
    return (
        select(
            prefix.label("of_prefix"),
            literal(LeftOut.SUPPRESSED, String),
            recipient.suppressed,
            cast(null(), Integer),
            func.count(),
        )
        .select_from(t.recipients)
        .join(t.messages, t.messages.c.id == recipient.message_id)
        .where(
            between(recipient.message_id, span.messages),
            recipient.suppressed.is_not(None),
            t.messages.c.run_id.in_(span.run_ids),
        )
        .group_by("of_prefix", recipient.suppressed)
    )


@contextmanager
def _each_read_once(connection: Connection) -> Iterator[None]:
    """Makes PostgreSQL read each of the tables that it joins once.

    While a campaign goes on PostgreSQL has no statistics of it yet. It takes a million reports for one, and would go
    through all of them for each recipient.
    """
    if connection.dialect.name != "postgresql":
        yield
        return
    connection.execute(_NO_LOOPS)
    try:
        yield
    finally:
        connection.execute(_LOOPS)


_NO_LOOPS, _LOOPS = text("SET enable_nestloop = off"), text("RESET enable_nestloop")

"""What people wrote back to a campaign: counted, and one by one."""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Connection,
    FromClause,
    Select,
    and_,
    case,
    cast,
    exists,
    func,
    select,
    tuple_,
)

from worker.domain.campaigns.campaign import Campaign, Run, caller_of
from worker.ledger import tables as t
from worker.ledger.campaigns.span import Span, between, span_of
from worker.ledger.pages import paged


@dataclass(frozen=True, slots=True)
class CampaignReply:
    """What a person wrote back to a message of a campaign. `optout` says whether they opted out with it."""

    received_at: datetime
    mobile: str
    content: str
    message: str
    optout: bool


def find_replies(
    connection: Connection, campaign: Campaign, runs: Sequence[Run], *, report_wait: timedelta, now: datetime
) -> Iterator[CampaignReply]:
    """Yields what people wrote back to these runs, the newest first, however much it is."""
    if not runs:
        return
    span = span_of(connection, runs, report_wait=report_wait, now=now)
    query = _REPLIES.where(*_may_answer(t.first_replies, _REPLY.received_at, campaign.account_id, runs, span))
    for page in paged(connection, query, lambda row: tuple_(*_NEWEST) < (row.received_at, row.id)):
        sent = _sent_under(connection, {int(row.msg_id) for row in page}, campaign.account_id, span)
        for row in page:
            if message := sent.get((row.msg_id, row.mobile)):
                yield CampaignReply(row.received_at, row.mobile, row.content, message, row.opted_out)


_REPLY = t.first_replies.c
_NEWEST = _REPLY.received_at, _REPLY.id
# A reply that opted its mobile out is kept with the opt-out in its own words.
_OPTED_OUT = exists().where(
    t.optouts.c.account_id == _REPLY.account_id,
    t.optouts.c.mobile == _REPLY.mobile,
    t.optouts.c.since == _REPLY.received_at,
    t.optouts.c.msg_id == _REPLY.msg_id,
    t.optouts.c.why == _REPLY.content,
)
_REPLIES = select(
    _REPLY.id, _REPLY.received_at, _REPLY.mobile, _REPLY.content, _REPLY.msg_id, _OPTED_OUT.label("opted_out")
).order_by(*(column.desc() for column in _NEWEST))


def count_replies(connection: Connection, account_id: int, runs: Sequence[Run], span: Span) -> tuple[int, int]:
    """Returns how many replies answer these runs, and how many opt-outs."""
    if not runs:
        return 0, 0
    sources = (t.first_replies, t.first_replies.c.received_at), (t.optouts, t.optouts.c.since)
    of_replies, of_optouts = (
        _counted(origin, _may_answer(origin, time, account_id, runs, span), span) for origin, time in sources
    )
    replies, optouts = connection.execute(select(of_replies, of_optouts)).one()
    return replies, optouts


def _counted(origin: FromClause, conditions: tuple[ColumnElement[bool], ...], span: Span) -> ColumnElement[int]:
    """How many rows of `origin`, replies or opt-outs, answer a message that these runs sent."""
    # Found first, and by itself: PostgreSQL cannot guess how few they are, and would begin with the million recipients.
    candidates = (
        select(origin.c.account_id, _number(origin.c.msg_id).label("msg_id"), origin.c.mobile)
        .where(*conditions)
        .cte(f"of_{origin.description}")
        .prefix_with("MATERIALIZED")
    )
    submission, recipient = t.submissions.c, t.recipients.c
    is_ours = submission.account_id == candidates.c.account_id, submission.msg_id == candidates.c.msg_id
    to_sender = recipient.submission_id == submission.id, recipient.mobile == candidates.c.mobile
    query: Select[int] = (
        select(func.count())
        .select_from(candidates)
        .join(t.submissions, and_(*is_ours))
        .join(t.recipients, and_(*to_sender))
        .where(submission.caller.in_([caller_of(run_id) for run_id in span.run_ids]))
    )
    return query.scalar_subquery()


def _may_answer(
    origin: FromClause, time: ColumnElement[Any], account_id: int, runs: Sequence[Run], span: Span
) -> tuple[ColumnElement[bool], ...]:
    """The conditions on rows of `origin` that may answer these runs: they came since, and their msgId is between the
    runs'.
    """
    return (
        origin.c.account_id == account_id,
        time >= min(run.started_at for run in runs),
        between(_number(origin.c.msg_id), span.msg_ids),
    )


def _number(msg_id: ColumnElement[str]) -> ColumnElement[int]:
    """The msgId as a number; null where it cannot be ours.

    It is kept as text, for it may be another program's: 007 is not one of ours.
    """
    digits = and_(func.length(msg_id).between(1, 10), func.ltrim(msg_id, "0123456789") == "", msg_id.not_like("0%"))
    return case((digits, cast(msg_id, BigInteger)))


def _sent_under(
    connection: Connection, msg_ids: Collection[int], account_id: int, span: Span
) -> dict[tuple[str, str], str]:
    """Returns the public ids of the messages sent under these msgIds, by msgId, as a reply has it, and mobile."""
    query = (
        select(t.submissions.c.msg_id, t.recipients.c.mobile, t.messages.c.public_id)
        .join(t.recipients, t.recipients.c.submission_id == t.submissions.c.id)
        .join(t.messages, t.messages.c.id == t.recipients.c.message_id)
        .where(
            t.submissions.c.account_id == account_id,
            t.submissions.c.msg_id.in_(msg_ids),
            t.messages.c.run_id.in_(span.run_ids),
        )
    )
    return {(str(msg_id), mobile): message for msg_id, mobile, message in connection.execute(query)}

"""Queries about messages, for people. Each takes a constant number of statements, however much there is to show."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Select, and_, exists, func, select

from worker.domain.status import STATUSES
from worker.ledger import tables as t


@dataclass(frozen=True, slots=True)
class MessageView:
    """A message, with the number of its recipients in each status: in the order of STATUSES, and never 0."""

    row_id: int
    id: str
    account: str
    lane: str
    content: str | None
    """None: the text of a code, which is wiped."""
    created_at: datetime
    counts: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class SentWith:
    """What else a message was sent with. A message without a submission, because all recipients were left out, has
    `metadata` alone.
    """

    metadata: dict[str, Any] | None
    caller: str | None
    expires_at: datetime | None
    """When the first of its submissions expires."""


@dataclass(frozen=True, slots=True)
class RecipientView:
    """One recipient of a message. `due_at` is set while its submission waits, `set_by` where a person settled it.

    A recipient without a submission has the reason in `suppressed`, and None in all that a submission would tell.
    """

    mobile: str
    status: str
    suppressed: str | None
    msg_id: int | None
    result: str | None
    tips: str | None
    due_at: datetime | None
    updated_at: datetime
    resent: bool | None
    set_by: str | None


@dataclass(frozen=True, slots=True)
class RefusedView:
    """A message that was refused, as it came."""

    id: str
    refused_at: datetime
    faults: list[str]
    payload: str


_MESSAGES = select(
    t.messages.c.id,
    t.messages.c.public_id,
    t.accounts.c.name,
    t.messages.c.lane,
    func.nullif(t.messages.c.content, "").label("content"),
    t.messages.c.created_at,
).join(t.accounts, t.accounts.c.id == t.messages.c.account_id)
_STATUS = t.recipient_status.c


def find(connection: Connection, message_id: str) -> MessageView | None:
    """Returns the message of that id, if the ledger has it."""
    row = connection.execute(_MESSAGES.where(t.messages.c.public_id == message_id)).first()
    return row and MessageView(*row, counts=_counts(connection, [row.id]).get(row.id, {}))


def sent_with(connection: Connection, message_id: int) -> SentWith:
    """Returns what else the message of that row id was sent with."""
    metadata = connection.execute(select(t.messages.c.metadata).where(t.messages.c.id == message_id)).scalar_one()
    query = select(func.min(t.submissions.c.caller), func.min(t.submissions.c.expires_at)).where(
        t.submissions.c.id.in_(select(t.recipients.c.submission_id).where(t.recipients.c.message_id == message_id))
    )
    caller, expires_at = connection.execute(query).one()
    return SentWith(json.loads(metadata) if metadata else None, caller or None, expires_at)


def newest(
    connection: Connection,
    *,
    limit: int,
    lane: str | None = None,
    account: str | None = None,
    status: str | None = None,
    since: datetime | None = None,
) -> list[MessageView]:
    """Returns the newest messages, the last first. With `status`, only those with a recipient of that status."""
    query = _MESSAGES.order_by(t.messages.c.id.desc()).limit(limit)
    if lane is not None:
        query = query.where(t.messages.c.lane == lane)
    if account is not None:
        query = query.where(t.accounts.c.name == account)
    if since is not None:
        query = query.where(t.messages.c.created_at >= since)
    if status is not None:
        query = query.where(exists().where(_STATUS.message_id == t.messages.c.id, _STATUS.status == status))
    page = connection.execute(query).all()
    counts = _counts(connection, [row.id for row in page])
    return [MessageView(*row, counts=counts.get(row.id, {})) for row in page]


def counts_by_id(connection: Connection, ids: Sequence[str]) -> dict[str, dict[str, int]]:
    """Returns the counts of those of these messages that the ledger has, by message id."""
    query = select(t.messages.c.public_id, t.messages.c.id).where(t.messages.c.public_id.in_(ids))
    row_ids = dict(connection.execute(query).all())
    counts = _counts(connection, list(row_ids.values()))
    return {message_id: counts.get(row_id, {}) for message_id, row_id in row_ids.items()}


def _counts(connection: Connection, row_ids: Sequence[int]) -> dict[int, dict[str, int]]:
    query = (
        select(_STATUS.message_id, _STATUS.status, func.count())
        .where(_STATUS.message_id.in_(row_ids))
        .group_by(_STATUS.message_id, _STATUS.status)
    )
    counts: dict[int, dict[str, int]] = {}
    for row_id, status, count in sorted(connection.execute(query), key=lambda row: STATUSES.index(row[1])):
        counts.setdefault(row_id, {})[status] = count
    return counts


_RECIPIENTS: Select[*tuple[Any, ...]] = (
    select(
        _STATUS.mobile,
        _STATUS.status,
        _STATUS.suppressed,
        _STATUS.msg_id,
        _STATUS.result,
        _STATUS.tips,
        t.submissions.c.due_at,
        _STATUS.updated_at,
        t.submissions.c.resent,
        t.reports.c.said_by,
    )
    .outerjoin(
        t.submissions,
        and_(t.submissions.c.account_id == _STATUS.account_id, t.submissions.c.msg_id == _STATUS.msg_id),
    )
    .outerjoin(
        t.reports,
        and_(
            t.reports.c.account_id == _STATUS.account_id,
            t.reports.c.msg_id == _STATUS.msg_id,
            t.reports.c.mobile == _STATUS.mobile,
            t.reports.c.status == _STATUS.status,
        ),
    )
    .order_by(_STATUS.mobile)
)


def recipients(connection: Connection, message_id: int, *, limit: int | None = None) -> list[RecipientView]:
    """Returns the recipients of a message, by mobile. `message_id` is its row id."""
    query = _RECIPIENTS.where(_STATUS.message_id == message_id).limit(limit)
    return [RecipientView(*row) for row in connection.execute(query)]


def find_refused(connection: Connection, ids: Sequence[str]) -> list[RefusedView]:
    """Returns those of these messages that were refused."""
    return [_refused_view(*row) for row in connection.execute(_REFUSED.where(t.refused.c.id.in_(ids)))]


def newest_refused(connection: Connection, *, limit: int, since: datetime | None = None) -> list[RefusedView]:
    """Returns the newest refused messages, the last first."""
    query = _REFUSED.order_by(t.refused.c.refused_at.desc(), t.refused.c.id).limit(limit)
    if since is not None:
        query = query.where(t.refused.c.refused_at >= since)
    return [_refused_view(*row) for row in connection.execute(query)]


_REFUSED = select(t.refused.c.id, t.refused.c.refused_at, t.refused.c.faults, t.refused.c.payload)


def _refused_view(message_id: str, refused_at: datetime, faults: str, payload: str) -> RefusedView:
    return RefusedView(message_id, refused_at, json.loads(faults), payload)

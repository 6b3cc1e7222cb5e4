"""What the ledger says about pushes and their replies, for people: a statement or two for a whole page."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, exists, func, select, tuple_

from worker.domain.message import MSG_ID_END
from worker.ledger import tables as t


@dataclass(frozen=True, slots=True)
class PushView:
    """A push.

    `unmatched` counts its reports that belong to none of our recipients, `reason` says what was odd about it.
    """

    id: int
    received_at: datetime
    source: str
    state: str
    items: int | None
    unmatched: int
    reason: str | None
    revoked_at: datetime | None = None
    revoked_by: str | None = None


@dataclass(frozen=True, slots=True)
class ReplyView:
    """What a person wrote back.

    `message` is the public id of the message that it answers, where we sent one under its msgId.
    """

    received_at: datetime
    account: str
    mobile: str
    content: str
    msg_id: str
    message: str | None


_PUSHES = select(
    t.pushes.c.id,
    t.pushes.c.received_at,
    t.pushes.c.source,
    t.pushes.c.state,
    t.pushes.c["items"],
    t.pushes.c.reason,
    t.pushes.c.revoked_at,
    t.pushes.c.revoked_by,
)


def newest(connection: Connection, *, limit: int, state: str | None = None) -> list[PushView]:
    """Returns the newest pushes, the last first."""
    query = _PUSHES.order_by(t.pushes.c.id.desc()).limit(limit)
    if state is not None:
        query = query.where(t.pushes.c.state == state)
    page = connection.execute(query).all()
    unmatched = _unmatched(connection, [row.id for row in page])
    return [_view(row, unmatched.get(row.id)) for row in page]


def find(connection: Connection, push_id: int) -> tuple[PushView, bytes] | None:
    """Returns the push with that id and its body, if there is one."""
    row = connection.execute(_PUSHES.add_columns(t.pushes.c.body).where(t.pushes.c.id == push_id)).first()
    return row and (_view(row, _unmatched(connection, [push_id]).get(push_id)), row.body)


def _view(row: Any, unmatched: tuple[int, int] | None) -> PushView:
    count, msg_id = unmatched or (0, 0)
    note = f"msgId nobody sent: {msg_id}" + (f" and {count - 1} more" if count > 1 else "") if count else None
    reason = "; ".join(filter(None, (row.reason, note))) or None
    revoked = row.revoked_at, row.revoked_by
    return PushView(row.id, row.received_at, row.source, row.state, row.items, count, reason, *revoked)


def _unmatched(connection: Connection, push_ids: Sequence[int]) -> dict[int, tuple[int, int]]:
    """Returns how many reports of each push match no recipient, and one msgId of them.

    Pushes without any are left out.
    """
    sent = exists().where(
        t.submissions.c.account_id == t.reports.c.account_id,
        t.submissions.c.msg_id == t.reports.c.msg_id,
        t.recipients.c.submission_id == t.submissions.c.id,
        t.recipients.c.mobile == t.reports.c.mobile,
    )
    query = (
        select(t.reports.c.push_id, func.count(), func.min(t.reports.c.msg_id))
        .where(t.reports.c.push_id.in_(push_ids), ~sent)
        .group_by(t.reports.c.push_id)
    )
    return {push_id: (count, msg_id) for push_id, count, msg_id in connection.execute(query)}


def newest_replies(
    connection: Connection, *, limit: int, mobile: str | None = None, since: datetime | None = None
) -> list[ReplyView]:
    """Returns the newest replies, the last first."""
    query = (
        select(
            t.first_replies.c.received_at,
            t.accounts.c.name,
            t.first_replies.c.mobile,
            t.first_replies.c.content,
            t.first_replies.c.msg_id,
            t.first_replies.c.account_id,
        )
        .join(t.accounts, t.accounts.c.id == t.first_replies.c.account_id)
        .order_by(t.first_replies.c.received_at.desc(), t.first_replies.c.id.desc())
        .limit(limit)
    )
    if mobile is not None:
        query = query.where(t.first_replies.c.mobile == mobile)
    if since is not None:
        query = query.where(t.first_replies.c.received_at >= since)
    page = connection.execute(query).all()
    ours = _message_ids(connection, {(row.account_id, row.msg_id, row.mobile) for row in page})
    return [ReplyView(*row[:-1], message=ours.get((row.account_id, row.msg_id, row.mobile))) for row in page]


def _message_ids(connection: Connection, keys: set[tuple[int, str, str]]) -> dict[tuple[int, str, str], str]:
    """Returns the public ids of the messages that were sent under these (account, msgId, mobile).

    A reply's msgId is kept as text, for it may be another program's.
    """
    numbers = {
        (account_id, int(msg_id))
        for account_id, msg_id, _ in keys
        if msg_id.isascii() and msg_id.isdecimal() and int(msg_id) < MSG_ID_END
    }
    if not numbers:
        return {}
    query = (
        select(t.submissions.c.account_id, t.submissions.c.msg_id, t.recipients.c.mobile, t.messages.c.public_id)
        .join(t.recipients, t.recipients.c.submission_id == t.submissions.c.id)
        .join(t.messages, t.messages.c.id == t.recipients.c.message_id)
        .where(tuple_(t.submissions.c.account_id, t.submissions.c.msg_id).in_(numbers))
    )
    rows = connection.execute(query)
    return {(account_id, str(msg_id), mobile): message_id for account_id, msg_id, mobile, message_id in rows}

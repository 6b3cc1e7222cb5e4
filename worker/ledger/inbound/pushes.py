"""Pushes as they came in, and what they brought: reports and replies.

Each takes effect once, in whatever order pushes come.
"""

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cache
from hashlib import blake2b
from typing import Any

from sqlalchemy import Connection, Select, bindparam, delete, func, select, update

from worker.domain.push import REPEAT_WINDOW, Reply, StatusReport, numbered
from worker.domain.status import Report
from worker.ledger import tables as t
from worker.ledger.dialect import ROWS, add_rows, insert_new, is_among, oldest

STRAY_AFTER = timedelta(seconds=30)
"""A push that was not processed this long after it came has lost its task, and gets a new one."""

OVERHEAD = 1000
"""Bytes that a push of a few words takes up."""
BODIES = 10
"""The bodies that are read at once: each may have 4 MiB."""

RECEIVED, PROCESSED, QUARANTINED = "received", "processed", "quarantined"


@dataclass(frozen=True, slots=True)
class Raw:
    """A push as it came."""

    body: bytes
    received_at: datetime
    source: str


# Built once: to build such a statement anew costs as much as to run it.
_ADD = t.pushes.insert().returning(t.pushes.c.id)
_READ = select(t.pushes.c.body, t.pushes.c.received_at, t.pushes.c.source).where(t.pushes.c.id == bindparam("of_id"))
_STORED_SINCE = select(func.coalesce(func.sum(t.pushes.c.size + OVERHEAD), 0)).where(
    t.HAS_BODY, t.pushes.c.received_at >= bindparam("since")
)
_FINISH = (
    update(t.pushes)
    .where(t.pushes.c.id == bindparam("of_id"), t.pushes.c.revoked_at.is_(None))
    .values(state=bindparam("new_state"), items=bindparam("new_items"), reason=bindparam("new_reason"), due_at=None)
)


def add(connection: Connection, body: bytes, *, source: str, received_at: datetime) -> int:
    """Keeps a push, still unread. Returns its id. `source` is the address that it came from."""
    row = {
        "body": body,
        "size": len(body),
        "source": source,
        "received_at": received_at,
        "state": RECEIVED,
        "due_at": received_at + STRAY_AFTER,
    }
    push_id: int = connection.execute(_ADD, row).scalar_one()
    return push_id


def stored_bytes(size: int) -> int:
    """Returns the bytes that a push of that size takes up, with its row and the row's indexes."""
    return size + OVERHEAD


def stored_since(connection: Connection, *, since: datetime) -> int:
    """Returns the bytes that pushes take up which came since then and still have their bodies."""
    stored: int = connection.execute(_STORED_SINCE, {"since": since}).scalar_one()
    return stored


def read(connection: Connection, push_id: int) -> Raw | None:
    """Returns the push with that id, if there is one."""
    row = connection.execute(_READ, {"of_id": push_id}).first()
    return row and Raw(*row)


def finish(connection: Connection, push_id: int, *, items: int, reason: str | None, quarantined: bool) -> bool:
    """Notes that a push was read: how many items it held, and what could not be used.

    Returns False where it was revoked.
    """
    state = QUARANTINED if quarantined else PROCESSED
    asked = {"of_id": push_id, "new_state": state, "new_items": items, "new_reason": reason}
    return connection.execute(_FINISH, asked).rowcount == 1


def overdue(connection: Connection, *, now: datetime, most: int = ROWS) -> list[int]:
    """Returns the ids of pushes that nobody has processed in time, each once per STRAY_AFTER."""
    late = oldest(t.pushes.c.id, t.pushes.c.due_at, now, most, t.pushes.c.due_at.is_not(None))
    again = late.values(due_at=now + STRAY_AFTER)
    return list(connection.execute(again.returning(t.pushes.c.id)).scalars())


def replay(
    connection: Connection, *, push_ids: Sequence[int] = (), state: str | None = None, now: datetime
) -> list[int]:
    """Marks pushes to be read again: those with these ids, or in this state. Returns their ids.

    Pushes that wait to be read are left as they are, as are revoked ones, and those whose body is kept no longer.
    """
    wanted = t.pushes.c.id.in_(push_ids) if state is None else t.pushes.c.state == state
    again = (
        update(t.pushes)
        .where(wanted, t.pushes.c.state != RECEIVED, t.pushes.c.revoked_at.is_(None), t.HAS_BODY)
        .values(state=RECEIVED, due_at=now, items=None, reason=None)
    )
    return list(connection.execute(again.returning(t.pushes.c.id)).scalars())


def received_after(connection: Connection, push_id: int) -> Iterator[tuple[int, bytes]]:
    """Yields id and body of each push that did not come before that one, was read and was not revoked."""
    since = select(t.pushes.c.received_at).where(t.pushes.c.id == push_id).scalar_subquery()
    were_read = t.pushes.c.state != RECEIVED, t.pushes.c.revoked_at.is_(None), t.HAS_BODY
    pages = select(t.pushes.c.id, t.pushes.c.body).where(
        t.pushes.c.received_at >= since, t.pushes.c.id != push_id, *were_read
    )
    pages = pages.order_by(t.pushes.c.id).limit(BODIES)
    after = 0
    while page := connection.execute(pages.where(t.pushes.c.id > after)).all():
        yield from map(tuple, page)
        after = page[-1].id


def revoke(connection: Connection, push_id: int, *, by: str, now: datetime) -> tuple[set[StatusReport], int]:
    """Takes back the reports and replies of a push for good. Returns the reports, and how many replies.

    Done again, it changes nothing.
    """
    connection.execute(
        update(t.pushes)
        .where(t.pushes.c.id == push_id, t.pushes.c.revoked_at.is_(None))
        .values(revoked_at=now, revoked_by=by, state=PROCESSED, due_at=None)
    )
    taken_back = delete(t.reports).where(t.reports.c.push_id == push_id)
    rows = connection.execute(taken_back.returning(t.reports.c.msg_id, t.reports.c.mobile, t.reports.c.status)).all()
    of_replies = connection.execute(delete(t.replies).where(t.replies.c.push_id == push_id)).rowcount
    return {StatusReport(msg_id=row.msg_id, mobile=row.mobile, report=Report(row.status)) for row in rows}, of_replies


def add_reports(
    connection: Connection, account_id: int, items: Iterable[StatusReport], *, push_id: int, received_at: datetime
) -> None:
    """Keeps the reports: one for each msgId, mobile and status, with the earliest push that brought it."""
    add_rows(
        connection,
        insert_new(connection, t.reports, earliest="received_at", also=("push_id", "said_by")),
        {"account_id": account_id, "push_id": push_id, "said_by": None, "received_at": received_at},
        ("msg_id", "mobile", "status"),
        # Sorted, so that two pushes with the same reports wait for each other instead of deadlocking.
        sorted({(item.msg_id, item.mobile, item.report) for item in items}),
    )


def add_replies(
    connection: Connection, account_id: int, items: Iterable[Reply], *, push_id: int, received_at: datetime
) -> dict[int, Reply]:
    """Keeps the replies as they came. The view `first_replies` says which of them repeat those of another push.

    Returns the replies that were not there yet, by id.
    """
    added = add_rows(
        connection,
        insert_new(connection, t.replies),
        {"account_id": account_id, "push_id": push_id, "received_at": received_at},
        ("mobile", "msg_id", "content", "nth", "digest"),
        (
            (reply.mobile, reply.msg_id, reply.content, nth, _digest(account_id, reply))
            for reply, nth in numbered(items)
        ),
        returning=(t.replies.c.id, t.replies.c.mobile, t.replies.c.msg_id, t.replies.c.content),
    )
    return {reply_id: Reply(*values) for reply_id, *values in added}


def find_first_replies(connection: Connection, reply_ids: Collection[int], *, received_at: datetime) -> list[int]:
    """Returns those of these replies, which came at that time, that do not repeat an earlier reply that counted.

    A reply counts if it came after its account first had a message for the mobile, by a push that was not undone.
    """
    asked = {"ids": list(reply_ids), "before": received_at, "since": received_at - REPEAT_WINDOW}
    return list(connection.execute(_first_replies(connection.dialect.name), asked).scalars())


@cache
def _first_replies(dialect: str) -> Select[Any]:
    earlier = t.replies.alias("earlier")
    first_message = (
        select(func.min(t.messages.c.accepted_at))
        .join(t.recipients, t.recipients.c.message_id == t.messages.c.id)
        .join(t.submissions, t.submissions.c.id == t.recipients.c.submission_id)
        .where(t.recipients.c.mobile == t.replies.c.mobile, t.submissions.c.account_id == t.replies.c.account_id)
        .correlate(t.replies)
        .scalar_subquery()
    )
    undone = select(t.pushes.c.id).where(t.pushes.c.id == earlier.c.push_id, t.pushes.c.undone_at.is_not(None)).exists()
    repeated = select(earlier.c.id).where(
        earlier.c.digest == t.replies.c.digest,
        earlier.c.nth == t.replies.c.nth,
        earlier.c.received_at < bindparam("before"),
        earlier.c.received_at >= bindparam("since"),
        earlier.c.received_at >= first_message,
        ~undone,
    )
    return select(t.replies.c.id).where(is_among(dialect, t.replies.c.id, "ids"), ~repeated.exists())


def _digest(account_id: int, reply: Reply) -> bytes:
    """Returns a digest of all that tells the reply from another, short enough for an index.

    A field of XML holds no NUL.
    """
    fields = (str(account_id), reply.mobile, reply.msg_id, reply.content)
    return blake2b("\0".join(fields).encode(), digest_size=16).digest()

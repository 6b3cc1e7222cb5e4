"""Wipes the texts of codes that went out, and removes old pushes and refused messages."""

from datetime import datetime

from sqlalchemy import Connection, Select, bindparam, delete, func, select, update

from worker.domain.status import WAITING, State
from worker.domain.text import check_of
from worker.ledger import tables as t
from worker.ledger.dialect import ROWS, inlined
from worker.ledger.inbound.pushes import QUARANTINED, RECEIVED

# Only a message that may still be called needs its text; no other state leads there. The subquery is looked up by the
# indexes, once for each message. PostgreSQL makes a join of EXISTS, which goes through all submissions.
_NEEDED = (
    select(t.submissions.c.id)
    .join(t.recipients, t.recipients.c.submission_id == t.submissions.c.id)
    .where(t.recipients.c.message_id == t.messages.c.id, t.submissions.c.state.in_([*WAITING, State.UNKNOWN]))
    .limit(1)
    .correlate(t.messages)
    .scalar_subquery()
)
_CODES = (
    select(t.messages.c.id, t.messages.c.content)
    .where(t.messages.c.lane == inlined("otp"), t.messages.c.content != inlined(""), _NEEDED.is_(None))
    .order_by(t.messages.c.id)
)
_WIPE = (
    update(t.messages)
    .where(t.messages.c.id == bindparam("of_id"))
    .values(content="", text_check=bindparam("its_check"))
)


def wipe_codes(connection: Connection, *, most: int = ROWS) -> int:
    """Empties the texts of codes that cannot be sent any more. Returns how many."""
    wiped = [{"of_id": row.id, "its_check": check_of(row.content)} for row in connection.execute(_CODES.limit(most))]
    if wiped:
        connection.execute(_WIPE, wiped)
    return len(wiped)


def wipe_bodies(connection: Connection, *, before: datetime, most: int = ROWS) -> int:
    """Empties the bodies of pushes that came before that time and were read. Returns how many."""
    old = select(t.pushes.c.id).where(t.HAS_BODY, t.pushes.c.received_at < before, t.pushes.c.state != RECEIVED)
    return _wipe(connection, old.order_by(t.pushes.c.received_at).limit(most))


def wipe_quarantined(connection: Connection, *, most_bytes: int, before: datetime, most: int = ROWS) -> int:
    """Empties the oldest bodies of quarantined pushes until the others have at most `most_bytes`. Returns how many.

    Pushes that came at `before` or later keep their bodies: they count towards the limit for what the ledger takes of
    pushes.
    """
    newer = func.sum(func.coalesce(t.pushes.c.size, func.length(t.pushes.c.body))).over(order_by=t.pushes.c.id.desc())
    which = t.pushes.c.state == inlined(QUARANTINED), t.HAS_BODY
    kept = select(t.pushes.c.id, t.pushes.c.received_at, newer.label("bytes")).where(*which).subquery()
    too_many = kept.c.bytes > most_bytes, kept.c.received_at < before
    return _wipe(connection, select(kept.c.id).where(*too_many).order_by(kept.c.id).limit(most))


def _wipe(connection: Connection, push_ids: Select[tuple[int]]) -> int:
    return connection.execute(update(t.pushes).where(t.pushes.c.id.in_(push_ids)).values(body=b"", size=0)).rowcount


def forget_refused(connection: Connection, *, before: datetime, most: int = ROWS) -> int:
    """Removes the messages that were refused before that time. Returns how many."""
    old = select(t.refused.c.id).where(t.refused.c.refused_at < before).limit(most)
    return connection.execute(delete(t.refused).where(t.refused.c.id.in_(old))).rowcount

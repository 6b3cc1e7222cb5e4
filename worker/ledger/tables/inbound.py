"""The tables of what came in: pushes, and the reports and replies that they brought."""

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    Index,
    Integer,
    LargeBinary,
    PrimaryKeyConstraint,
    String,
    Table,
    Text,
    UniqueConstraint,
    literal_column,
)

from worker.domain.status import Report
from worker.ledger.tables.columns import Serial, UtcTime, account_id, metadata, one_of

pushes = Table(
    "pushes",
    metadata,
    Column("id", Serial, primary_key=True),
    Column("received_at", UtcTime, nullable=False),
    Column("source", String(64), nullable=False),
    Column("body", LargeBinary, nullable=False),
    Column("state", String(12), nullable=False),
    Column("reason", Text),
    # How many items it held, and a line for each that could not be used.
    Column("items", Integer),
    # While it is `received`: the time by which its task should have run. Then the tick gives it out again.
    Column("due_at", UtcTime),
    # Bytes of the body: 0 where it is kept no longer, null where an older version kept the push.
    Column("size", Integer),
    # Since when it is revoked, and by whom.
    Column("revoked_at", UtcTime),
    Column("revoked_by", String(64)),
    # Since when its opt-outs are undone.
    Column("undone_at", UtcTime),
    CheckConstraint("state IN ('received', 'processed', 'quarantined')", name="state"),
    CheckConstraint("(due_at IS NOT NULL) = (state = 'received')", name="due"),
)
Index(
    "ix_pushes_waiting",
    pushes.c.due_at,
    postgresql_where=pushes.c.due_at.is_not(None),
    sqlite_where=pushes.c.due_at.is_not(None),
)

HAS_BODY = pushes.c.size.is_distinct_from(literal_column("0"))
"""Whether the body of a push is still there."""
Index(
    "ix_pushes_kept",
    pushes.c.received_at,
    postgresql_include=["size"],
    postgresql_where=HAS_BODY,
    sqlite_where=HAS_BODY,
    postgresql_concurrently=True,
)
# Small at any size of the ledger, unless many pushes cannot be read.
Index(
    "ix_pushes_quarantined",
    pushes.c.id,
    postgresql_where=pushes.c.state == "quarantined",
    sqlite_where=pushes.c.state == "quarantined",
    postgresql_concurrently=True,
)

reports = Table(
    "reports",
    metadata,
    account_id(),
    Column("msg_id", BigInteger, nullable=False),
    Column("mobile", String(32), nullable=False),
    Column("status", String(12), nullable=False),
    # The push that brought it, or the person who said so.
    Column("push_id", Serial, index=True),
    Column("said_by", String(64)),
    Column("received_at", UtcTime, nullable=False),
    # In the order in which the view looks a report up.
    PrimaryKeyConstraint("account_id", "msg_id", "mobile", "status"),
    one_of(Report, "status"),
    CheckConstraint("(push_id IS NULL) = (said_by IS NOT NULL)", name="origin"),
)

replies = Table(
    "replies",
    metadata,
    Column("id", Serial, primary_key=True),
    account_id(),
    Column("mobile", String(32), nullable=False),
    Column("msg_id", String(64), nullable=False),
    Column("content", Text, nullable=False),
    # The push that brought it.
    Column("push_id", Serial, nullable=False),
    Column("received_at", UtcTime, nullable=False),
    # Which repetition of the same reply in that push it is, and a digest that the same replies share (see `pushes`).
    Column("nth", Integer, nullable=False),
    Column("digest", LargeBinary(16), nullable=False),
    # Makes a push that is processed again add nothing.
    UniqueConstraint("push_id", "digest", "nth"),
    # In the order in which the view looks for an earlier one.
    Index("ix_replies_same", "digest", "nth", "received_at", "push_id"),
    Index("ix_replies_newest", "received_at", "id"),
    Index("ix_replies_of", "mobile", "received_at", "id"),
)

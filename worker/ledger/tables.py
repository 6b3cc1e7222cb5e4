"""The tables. `migrations/` makes them; a test holds that both say the same.

What is derived is not stored: a recipient's status follows from its report, else from its submission, or from its having none
(view `recipient_status`).
So an attempt writes one row, however many recipients it has, and a report is one insert that needs no other row to be there.
"""

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    DateTime,
    Dialect,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    PrimaryKeyConstraint,
    SmallInteger,
    String,
    Table,
    Text,
    TypeDecorator,
    UniqueConstraint,
    column,
    table,
)

from worker.domain.status import WAITING, Report, State


class UtcTime(TypeDecorator[datetime]):
    """An aware time, kept in UTC. SQLite knows no time zones: there it is kept naive, and given back aware."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError(f"{value} has no time zone")
        return value.astimezone(UTC).replace(tzinfo=None) if dialect.name == "sqlite" else value

    def process_result_value(self, value: datetime | None, _dialect: Dialect) -> datetime | None:
        if value is None or value.tzinfo is not None:
            return value
        return value.replace(tzinfo=UTC)


# SQLite numbers rows by itself only in a column of type INTEGER, which holds 64 bits there.
Serial = BigInteger().with_variant(Integer(), "sqlite")

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)


def _account() -> Column[Any]:
    return Column("account_id", SmallInteger, ForeignKey("accounts.id"), nullable=False)


accounts = Table(
    "accounts",
    metadata,
    Column("id", SmallInteger().with_variant(Integer(), "sqlite"), primary_key=True),
    Column("name", String(64), nullable=False, unique=True),
    # The next block of msgIds begins here (see msg_ids).
    Column("next_msg_id", BigInteger, nullable=False),
    # Whether the account may send now; `closed` with the reason, since when, when to probe next (by hand: never), by whom.
    Column("gate", String(8), nullable=False),
    Column("gate_reason", Text),
    Column("gate_since", UtcTime, nullable=False),
    Column("gate_until", UtcTime),
    Column("gate_by", String(64)),
    # How far the gateway's clock was ahead of ours when it was last measured.
    Column("skew_ms", BigInteger),
    CheckConstraint("gate IN ('open', 'closed')", name="gate"),
)

messages = Table(
    "messages",
    metadata,
    Column("no", Serial, primary_key=True),
    Column("id", String(64), nullable=False, unique=True),
    _account(),
    Column("lane", String(16), nullable=False),
    Column("content", Text, nullable=False),
    Column("metadata", Text),
    Column("created_at", UtcTime, nullable=False),
    Column("accepted_at", UtcTime, nullable=False),
)

submissions = Table(
    "submissions",
    metadata,
    Column("no", Serial, primary_key=True),
    _account(),
    Column("lane", String(16), nullable=False),
    Column("msg_id", Integer, nullable=False),
    Column("state", String(12), nullable=False),
    # Whose it is: callers of one lane have equal shares of it.
    Column("caller", String(64), nullable=False),
    Column("mobiles", SmallInteger, nullable=False),
    # When it is due in each waiting state: to be claimed from then on; while it is called, when its lease is over.
    Column("due_at", UtcTime),
    Column("expires_at", UtcTime, nullable=False),
    Column("attempt", SmallInteger, nullable=False),
    # Whether it has been sent again after it was unknown.
    Column("resent", Boolean, nullable=False),
    Column("result", Text),
    Column("tips", Text),
    Column("updated_at", UtcTime, nullable=False),
    UniqueConstraint("account_id", "msg_id"),
    CheckConstraint(f"state IN ({', '.join(repr(str(s)) for s in State)})", name="state"),
    CheckConstraint(
        f"(due_at IS NOT NULL) = (state IN ({', '.join(repr(str(s)) for s in State if s in WAITING)}))", name="due"
    ),
)
# What waits for its reports, the oldest first.
Index(
    "ix_submissions_accepted",
    submissions.c.updated_at,
    postgresql_where=submissions.c.state == State.ACCEPTED,
    sqlite_where=submissions.c.state == State.ACCEPTED,
)
# Small at any size of the ledger: what waits for a person.
Index(
    "ix_submissions_unknown",
    submissions.c.no,
    postgresql_where=submissions.c.state == State.UNKNOWN,
    sqlite_where=submissions.c.state == State.UNKNOWN,
)
# Small at any size of the ledger: only what waits is in them. Whose turn it is; what is past its validity; whose lease is over.
_TO_BE_SENT = submissions.c.state.in_((State.HELD, State.QUEUED))
Index(
    "ix_submissions_due",
    submissions.c.lane,
    submissions.c.account_id,
    submissions.c.caller,
    submissions.c.due_at,
    postgresql_where=_TO_BE_SENT,
    sqlite_where=_TO_BE_SENT,
)
Index(
    "ix_submissions_late",
    submissions.c.expires_at,
    postgresql_where=_TO_BE_SENT,
    sqlite_where=_TO_BE_SENT,
)
Index(
    "ix_submissions_leased",
    submissions.c.due_at,
    postgresql_where=submissions.c.state == State.SUBMITTING,
    sqlite_where=submissions.c.state == State.SUBMITTING,
)

recipients = Table(
    "recipients",
    metadata,
    Column("message_no", Serial, ForeignKey("messages.no"), primary_key=True, autoincrement=False),
    Column("mobile", String(16), primary_key=True),
    # The call that it is sent in, or why it is left out: the value of a Suppression.
    Column("submission_no", Serial, ForeignKey("submissions.no"), index=True),
    Column("suppressed", String(16)),
    CheckConstraint("(submission_no IS NULL) = (suppressed IS NOT NULL)", name="sent_or_suppressed"),
)

refused = Table(
    "refused",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("faults", Text, nullable=False),
    Column("payload", Text, nullable=False),
    Column("refused_at", UtcTime, nullable=False),
)

pushes = Table(
    "pushes",
    metadata,
    Column("no", Serial, primary_key=True),
    Column("received_at", UtcTime, nullable=False),
    Column("source", String(64), nullable=False),
    Column("body", LargeBinary, nullable=False),
    Column("state", String(12), nullable=False),
    Column("reason", Text),
    # How many items it held, and a line for each that could not be used.
    Column("items", Integer),
    # When beat must see to it: while it is `received`, the time by which its task should have run.
    Column("due_at", UtcTime),
    CheckConstraint("state IN ('received', 'processed', 'quarantined')", name="state"),
    CheckConstraint("(due_at IS NOT NULL) = (state = 'received')", name="due"),
)
Index(
    "ix_pushes_waiting",
    pushes.c.due_at,
    postgresql_where=pushes.c.due_at.is_not(None),
    sqlite_where=pushes.c.due_at.is_not(None),
)

reports = Table(
    "reports",
    metadata,
    _account(),
    Column("msg_id", BigInteger, nullable=False),
    Column("mobile", String(32), nullable=False),
    Column("status", String(12), nullable=False),
    # Of the push that brought it, or who said so where no push did.
    Column("push_no", Serial, ForeignKey("pushes.no"), index=True),
    Column("said_by", String(64)),
    Column("received_at", UtcTime, nullable=False),
    # In the order in which the view looks a report up.
    PrimaryKeyConstraint("account_id", "msg_id", "mobile", "status"),
    CheckConstraint(f"status IN ({', '.join(repr(str(r)) for r in Report)})", name="status"),
    CheckConstraint("(push_no IS NULL) = (said_by IS NOT NULL)", name="origin"),
)

replies = Table(
    "replies",
    metadata,
    Column("no", Serial, primary_key=True),
    _account(),
    Column("mobile", String(32), nullable=False),
    Column("msg_id", String(64), nullable=False),
    Column("content", Text, nullable=False),
    # Of the push that brought it.
    Column("push_no", Serial, ForeignKey("pushes.no"), nullable=False),
    Column("received_at", UtcTime, nullable=False),
    # The how-manieth of the same reply in that push, and what is the same for the same reply (see pushes).
    Column("nth", Integer, nullable=False),
    Column("digest", LargeBinary(16), nullable=False),
    # So a push that is processed again adds nothing.
    UniqueConstraint("push_no", "digest", "nth"),
    # In the order in which the view looks for an earlier one.
    Index("ix_replies_same", "digest", "nth", "received_at", "push_no"),
    Index("ix_replies_newest", "received_at", "no"),
    Index("ix_replies_of", "mobile", "received_at", "no"),
)

recipient_status = table(
    "recipient_status",
    column("message_no", BigInteger),
    column("mobile", String),
    column("status", String),
    column("suppressed", String),
    column("account_id", SmallInteger),
    column("msg_id", Integer),
    column("result", String),
    column("tips", Text),
    column("updated_at", UtcTime),
)
"""A view: each recipient with its derived status, by the rule of `domain.status.recipient_status`.

What is of its submission (from `account_id` to `tips`) is null where it has none."""

first_replies = table(
    "first_replies",
    column("no", BigInteger),
    column("account_id", SmallInteger),
    column("mobile", String),
    column("msg_id", String),
    column("content", Text),
    column("push_no", BigInteger),
    column("received_at", UtcTime),
)
"""A view: the replies without those that repeat an earlier one, by the rule of `domain.push.first_replies`."""

"""The tables of what is sent: accounts, messages, calls and recipients, and who has opted out."""

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    ForeignKey,
    Index,
    Integer,
    PrimaryKeyConstraint,
    SmallInteger,
    String,
    Table,
    Text,
    UniqueConstraint,
    and_,
)

from worker.domain.status import WAITING, State
from worker.ledger.tables.columns import Serial, UtcTime, account_id, metadata, one_of

accounts = Table(
    "accounts",
    metadata,
    Column("id", SmallInteger().with_variant(Integer(), "sqlite"), primary_key=True),
    Column("name", String(64), nullable=False, unique=True),
    # The next block of msgIds begins here (see `ledger.sending.accounts.MsgIds`).
    Column("next_msg_id", BigInteger, nullable=False),
    # Whether the account may send now. A closed gate has a reason, the time, the next probe (never, if closed by hand)
    # and who closed it.
    Column("gate", String(8), nullable=False),
    Column("gate_reason", Text),
    Column("gate_since", UtcTime, nullable=False),
    Column("gate_until", UtcTime),
    Column("gate_by", String(64)),
    # How far the gateway's clock was ahead of ours when it was last measured.
    Column("skew_ms", BigInteger),
    # The gateway's names for the account (企业Id, 用户Id), which pushes use. A new name for it is refused.
    Column("epr_id", BigInteger),
    Column("user_id", Text),
    CheckConstraint("gate IN ('open', 'closed')", name="gate"),
)

messages = Table(
    "messages",
    metadata,
    Column("id", Serial, primary_key=True),
    Column("public_id", String(64), nullable=False, unique=True),
    account_id(),
    Column("lane", String(16), nullable=False),
    Column("content", Text, nullable=False),
    Column("metadata", Text),
    Column("created_at", UtcTime, nullable=False),
    Column("accepted_at", UtcTime, nullable=False),
    # For a text that was wiped: see `domain.text.check_of`.
    Column("text_check", SmallInteger),
    # The run of a campaign that made it, if one did. No foreign key: SQLite would copy the table to add one.
    Column("run_id", Serial),
)
# The codes whose texts are still there (`retention.wipe_codes`).
Index(
    "ix_messages_codes",
    messages.c.id,
    postgresql_where=and_(messages.c.lane == "otp", messages.c.content != ""),
    sqlite_where=and_(messages.c.lane == "otp", messages.c.content != ""),
    postgresql_concurrently=True,
)
# Small without campaigns: it has only what runs made.
Index(
    "ix_messages_run",
    messages.c.run_id,
    messages.c.id,
    postgresql_where=messages.c.run_id.is_not(None),
    sqlite_where=messages.c.run_id.is_not(None),
)

submissions = Table(
    "submissions",
    metadata,
    Column("id", Serial, primary_key=True),
    account_id(),
    Column("lane", String(16), nullable=False),
    Column("msg_id", Integer, nullable=False),
    Column("state", String(12), nullable=False),
    # The app that sends it. The callers of a lane have equal shares of the lane.
    Column("caller", String(64), nullable=False),
    Column("mobiles", SmallInteger, nullable=False),
    # In a waiting state: when it may be claimed. While it is called: when its lease is over.
    Column("due_at", UtcTime),
    Column("expires_at", UtcTime, nullable=False),
    Column("attempt", SmallInteger, nullable=False),
    # Whether it has been sent again after it was unknown.
    Column("resent", Boolean, nullable=False),
    # How many attempts were answered with 0 失败. The default is for rows that workers of an older version insert during
    # an upgrade.
    Column("failed", SmallInteger, nullable=False, server_default="0"),
    # Whether its campaign was cancelled before it was over: it is not called again, whatever a call under way comes to.
    # It stands in the row itself, so that a cancel and any other change at the same time agree.
    Column("called_off", Boolean, nullable=False),
    Column("result", Text),
    Column("tips", Text),
    Column("updated_at", UtcTime, nullable=False),
    # When it was last claimed to be called.
    Column("called_at", UtcTime),
    UniqueConstraint("account_id", "msg_id"),
    one_of(State, "state"),
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
# Small at any size of the ledger: it has what waits for a person.
Index(
    "ix_submissions_unknown",
    submissions.c.id,
    postgresql_where=submissions.c.state == State.UNKNOWN,
    sqlite_where=submissions.c.state == State.UNKNOWN,
)
# Small at any size of the ledger: they have only what waits. One each for what is due, past its validity, and past its
# lease.
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
    Column("message_id", Serial, ForeignKey("messages.id"), primary_key=True, autoincrement=False),
    Column("mobile", String(16), primary_key=True),
    # The call that it is sent in, or why it is left out: the value of a Suppression.
    Column("submission_id", Serial, ForeignKey("submissions.id"), index=True),
    Column("suppressed", String(16)),
    CheckConstraint("(submission_id IS NULL) = (suppressed IS NOT NULL)", name="sent_or_suppressed"),
)

# Whether an account ever sent to a mobile.
Index("ix_recipients_mobile", recipients.c.mobile, postgresql_concurrently=True)

refused = Table(
    "refused",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("faults", Text, nullable=False),
    Column("payload", Text, nullable=False),
    Column("refused_at", UtcTime, nullable=False),
)

optouts = Table(
    "optouts",
    metadata,
    account_id(),
    Column("mobile", String(32), nullable=False),
    # When the reply came or a person said so, who that was, and in what words.
    Column("since", UtcTime, nullable=False),
    Column("said_by", String(64), nullable=False),
    Column("why", Text, nullable=False),
    # For a reply: the msgId of what we sent before it, and the push that brought it.
    Column("msg_id", String(64)),
    Column("push_id", Serial),
    PrimaryKeyConstraint("account_id", "mobile"),
    Index("ix_optouts_newest", "since", "mobile"),
)

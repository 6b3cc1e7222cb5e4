"""The tables. `migrations/` makes them; a test holds that both say the same.

What is derived is not stored: a recipient's status follows from its report, else from its submission, or from its having none
(view `recipient_status`).
So an attempt writes one row, however many recipients it has, and a report is one insert that needs no other row to be there.

What comes by the thousand has no foreign key to a row that much of it shares, such as its account's or its push's. On PostgreSQL
each insert would lock that row, `FOR UPDATE` would wait for them all, and each row that many lock at once uses up numbers of
"multixact members", which run out. Accounts are never removed, nor are pushes.
"""

from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    DateTime,
    Dialect,
    Float,
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
    and_,
    column,
    literal_column,
    table,
)

from worker.domain.campaigns.campaign import CampaignState, Leftover, Missed, RunState, Stage
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
    return Column("account_id", SmallInteger, nullable=False)


def _one_of(values: type[StrEnum], column_name: str) -> CheckConstraint:
    return CheckConstraint(f"{column_name} IN ({', '.join(repr(str(one)) for one in values)})", name=column_name)


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
    # The gateway's names for it (企业Id, 用户Id), by which pushes name it, and a new name for it is refused.
    Column("epr_id", BigInteger),
    Column("user_id", Text),
    CheckConstraint("gate IN ('open', 'closed')", name="gate"),
)

messages = Table(
    "messages",
    metadata,
    Column("id", Serial, primary_key=True),
    Column("public_id", String(64), nullable=False, unique=True),
    _account(),
    Column("lane", String(16), nullable=False),
    Column("content", Text, nullable=False),
    Column("metadata", Text),
    Column("created_at", UtcTime, nullable=False),
    Column("accepted_at", UtcTime, nullable=False),
    # Of a text that was wiped: see domain.text.check_of.
    Column("text_check", SmallInteger),
    # Of the run of a campaign that made it, if one did. No foreign key: SQLite would copy the table to add one.
    Column("run_id", Serial),
)
# The codes whose texts are there still (retention.wipe_codes).
Index(
    "ix_messages_codes",
    messages.c.id,
    postgresql_where=and_(messages.c.lane == "otp", messages.c.content != ""),
    sqlite_where=and_(messages.c.lane == "otp", messages.c.content != ""),
    postgresql_concurrently=True,
)
# Small where there are no campaigns: only what a run made is in it.
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
    # How many attempts were answered with 0 失败. Its default is for what workers of an older version insert meanwhile.
    Column("failed", SmallInteger, nullable=False, server_default="0"),
    # Whether its campaign was cancelled before it was over: it is not to be called any more, whatever a call under way comes to.
    # In the row itself, so that a cancel and whatever else changes it at the same time agree.
    Column("called_off", Boolean, nullable=False),
    Column("result", Text),
    Column("tips", Text),
    Column("updated_at", UtcTime, nullable=False),
    # When it was last claimed to be called.
    Column("called_at", UtcTime),
    UniqueConstraint("account_id", "msg_id"),
    _one_of(State, "state"),
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
    submissions.c.id,
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
    # When beat must see to it: while it is `received`, the time by which its task should have run.
    Column("due_at", UtcTime),
    # Bytes of the body; 0 where it is kept no longer, and none where a version before this one kept it.
    Column("size", Integer),
    # Since when what it said counts no more, and who said so.
    Column("revoked_at", UtcTime),
    Column("revoked_by", String(64)),
    # Since when it opts nobody out any more.
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
"""Of a push: whether its body is there still."""
Index(
    "ix_pushes_kept",
    pushes.c.received_at,
    postgresql_include=["size"],
    postgresql_where=HAS_BODY,
    sqlite_where=HAS_BODY,
    postgresql_concurrently=True,
)
# Small at any size of the ledger, unless somebody pushes what nobody can read.
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
    _account(),
    Column("msg_id", BigInteger, nullable=False),
    Column("mobile", String(32), nullable=False),
    Column("status", String(12), nullable=False),
    # Of the push that brought it, or who said so where no push did.
    Column("push_id", Serial, index=True),
    Column("said_by", String(64)),
    Column("received_at", UtcTime, nullable=False),
    # In the order in which the view looks a report up.
    PrimaryKeyConstraint("account_id", "msg_id", "mobile", "status"),
    _one_of(Report, "status"),
    CheckConstraint("(push_id IS NULL) = (said_by IS NOT NULL)", name="origin"),
)

replies = Table(
    "replies",
    metadata,
    Column("id", Serial, primary_key=True),
    _account(),
    Column("mobile", String(32), nullable=False),
    Column("msg_id", String(64), nullable=False),
    Column("content", Text, nullable=False),
    # Of the push that brought it.
    Column("push_id", Serial, nullable=False),
    Column("received_at", UtcTime, nullable=False),
    # The how-manieth of the same reply in that push, and what is the same for the same reply (see pushes).
    Column("nth", Integer, nullable=False),
    Column("digest", LargeBinary(16), nullable=False),
    # So a push that is processed again adds nothing.
    UniqueConstraint("push_id", "digest", "nth"),
    # In the order in which the view looks for an earlier one.
    Index("ix_replies_same", "digest", "nth", "received_at", "push_id"),
    Index("ix_replies_newest", "received_at", "id"),
    Index("ix_replies_of", "mobile", "received_at", "id"),
)

optouts = Table(
    "optouts",
    metadata,
    _account(),
    Column("mobile", String(32), nullable=False),
    # When the reply came or a person said so; who, and in what words.
    Column("since", UtcTime, nullable=False),
    Column("said_by", String(64), nullable=False),
    Column("why", Text, nullable=False),
    # Of the reply, where it was one: what we sent before it, and the push that brought it.
    Column("msg_id", String(64)),
    Column("push_id", Serial),
    PrimaryKeyConstraint("account_id", "mobile"),
    Index("ix_optouts_newest", "since", "mobile"),
)

audiences = Table(
    "audiences",
    metadata,
    Column("id", Serial, primary_key=True),
    Column("name", String(64), nullable=False, unique=True),
    # The file that it came from, its columns as a JSON list, and which of them has the mobiles.
    Column("source", Text, nullable=False),
    Column("header", Text, nullable=False),
    Column("mobile_column", Text, nullable=False),
    # Whether it is whole. While it is not, somebody imports or removes it, or did and was stopped: `created_at` is when he last did.
    Column("ready", Boolean, nullable=False),
    Column("good", Integer, nullable=False),
    Column("repeats", Integer, nullable=False),
    Column("refused", Integer, nullable=False),
    Column("created_at", UtcTime, nullable=False),
    Column("created_by", String(64), nullable=False),
)

members = Table(
    "members",
    metadata,
    # No foreign key: it would be looked up for each of a million rows, and they come and go with their audience alone.
    Column("audience_id", Serial, nullable=False, autoincrement=False),
    # Where its row begins in the file: that is the order in which they are sent to.
    Column("line", Integer, nullable=False, autoincrement=False),
    Column("mobile", String(16), nullable=False),
    # What the row has in each of the audience's columns, as a JSON list.
    Column("fields", Text, nullable=False),
    PrimaryKeyConstraint("audience_id", "line"),
    UniqueConstraint("audience_id", "mobile"),
)

campaigns = Table(
    "campaigns",
    metadata,
    Column("id", Serial, primary_key=True),
    Column("name", String(64), nullable=False, unique=True),
    _account(),
    Column("lane", String(16), nullable=False),
    Column("audience_id", Serial, ForeignKey("audiences.id"), nullable=False, index=True),
    # The text, or a template of it: {{ column }}.
    Column("content", Text, nullable=False),
    # Where it stands, since when, and who or what brought it there, and why.
    Column("state", String(12), nullable=False),
    Column("since", UtcTime, nullable=False),
    Column("said_by", String(64), nullable=False),
    Column("reason", Text),
    # When its next run is due once it is active; as a cron line says where it has one.
    Column("next_at", UtcTime),
    Column("cron", Text),
    Column("time_zone", String(64), nullable=False),
    # Its own hours, narrower than those of its lane, like 09:00-20:00.
    Column("hours", String(11)),
    Column("leftover", String(8), nullable=False),
    Column("missed", String(8), nullable=False),
    # Shares of 1: of the audience that goes first; of bad results that are too many.
    Column("first_share", Float),
    Column("stop_share", Float),
    Column("created_at", UtcTime, nullable=False),
    Column("created_by", String(64), nullable=False),
    _one_of(CampaignState, "state"),
    _one_of(Leftover, "leftover"),
    _one_of(Missed, "missed"),
)
# What beat looks for: the next runs to be started.
Index(
    "ix_campaigns_next",
    campaigns.c.next_at,
    postgresql_where=campaigns.c.next_at.is_not(None),
    sqlite_where=campaigns.c.next_at.is_not(None),
)

runs = Table(
    "runs",
    metadata,
    Column("id", Serial, primary_key=True),
    Column("campaign_id", Serial, ForeignKey("campaigns.id"), nullable=False),
    # The time that it is the run of: two who start it at the same time start one.
    Column("due_at", UtcTime, nullable=False),
    Column("state", String(12), nullable=False),
    Column("reason", Text),
    # How far it has come: the members up to this line of the audience, in this stage, have been gone through.
    Column("stage", String(8), nullable=False),
    Column("line", Integer, nullable=False),
    # Of those how many became recipients, and how many could not, for their row makes no text that can be sent.
    Column("made", Integer, nullable=False),
    Column("refused", Integer, nullable=False),
    # Its window: it sends from then, until then.
    Column("opens_at", UtcTime, nullable=False),
    Column("closes_at", UtcTime),
    Column("started_at", UtcTime, nullable=False),
    Column("ended_at", UtcTime),
    # When its results were last looked at, and the last message that a person has seen the results of.
    Column("looked_at", UtcTime),
    Column("seen_message_id", Serial),
    UniqueConstraint("campaign_id", "due_at"),
    _one_of(RunState, "state"),
    _one_of(Stage, "stage"),
)
# Small whatever has been: only what is under way is in it, and of a campaign one at a time.
Index(
    "ix_runs_running",
    runs.c.campaign_id,
    unique=True,
    postgresql_where=runs.c.state == RunState.RUNNING,
    sqlite_where=runs.c.state == RunState.RUNNING,
)

marks = Table(
    "marks",
    metadata,
    # What goes round the rows of a table, some at a time, and the last of them that it has looked at.
    Column("name", String(32), primary_key=True),
    Column("last_id", BigInteger, nullable=False),
)

BUILT_BESIDE = tuple(
    (owner, index)
    for owner in metadata.sorted_tables
    for index in sorted(owner.indexes, key=lambda index: str(index.name))
    if index.dialect_options["postgresql"]["concurrently"]
)
"""Tables that may be large, each with an index that is built while others write to the table (see `schema`)."""

recipient_status = table(
    "recipient_status",
    column("message_id", BigInteger),
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
    column("id", BigInteger),
    column("account_id", SmallInteger),
    column("mobile", String),
    column("msg_id", String),
    column("content", Text),
    column("push_id", BigInteger),
    column("received_at", UtcTime),
)
"""A view: the replies without those that repeat an earlier one, by the rule of `domain.push.first_replies`."""

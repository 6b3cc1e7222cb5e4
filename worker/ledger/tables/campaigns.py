"""The tables of campaigns: audiences and their members, campaigns and their runs."""

from sqlalchemy import (
    Boolean,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    PrimaryKeyConstraint,
    String,
    Table,
    Text,
    UniqueConstraint,
)

from worker.domain.campaigns.campaign import CampaignState, Leftover, Missed, RunState, Stage
from worker.ledger.tables.columns import Serial, UtcTime, account_id, metadata, one_of

audiences = Table(
    "audiences",
    metadata,
    Column("id", Serial, primary_key=True),
    Column("name", String(64), nullable=False, unique=True),
    # The file that it came from, the file's columns as a JSON list, and the column with the mobiles.
    Column("source", Text, nullable=False),
    Column("header", Text, nullable=False),
    Column("mobile_column", Text, nullable=False),
    # Whether it is whole. Until then it is being imported or removed, and `created_at` is its owner's last heartbeat.
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
    # No foreign key: it would be looked up for each of a million rows. Members come and go only with their audience.
    Column("audience_id", Serial, nullable=False, autoincrement=False),
    # The line on which its row begins in the file. Members are sent to in this order.
    Column("line", Integer, nullable=False, autoincrement=False),
    Column("mobile", String(16), nullable=False),
    # The row's values in the audience's columns, as a JSON list.
    Column("fields", Text, nullable=False),
    PrimaryKeyConstraint("audience_id", "line"),
    UniqueConstraint("audience_id", "mobile"),
)

campaigns = Table(
    "campaigns",
    metadata,
    Column("id", Serial, primary_key=True),
    Column("name", String(64), nullable=False, unique=True),
    account_id(),
    Column("lane", String(16), nullable=False),
    Column("audience_id", Serial, ForeignKey("audiences.id"), nullable=False, index=True),
    # The text, or a template of it: {{ column }}.
    Column("content", Text, nullable=False),
    # Its state, since when, who or what set it, and why.
    Column("state", String(12), nullable=False),
    Column("since", UtcTime, nullable=False),
    Column("said_by", String(64), nullable=False),
    Column("reason", Text),
    # When its next run is due once it is active. A cron line, where it has one, gives the times.
    Column("next_at", UtcTime),
    Column("cron", Text),
    Column("time_zone", String(64), nullable=False),
    # Its own hours, narrower than those of its lane, like 09:00-20:00.
    Column("hours", String(11)),
    Column("leftover", String(8), nullable=False),
    Column("missed", String(8), nullable=False),
    # Fractions of 1: the share of the audience that goes first, and the share of bad results that pauses it.
    Column("first_share", Float),
    Column("stop_share", Float),
    Column("created_at", UtcTime, nullable=False),
    Column("created_by", String(64), nullable=False),
    one_of(CampaignState, "state"),
    one_of(Leftover, "leftover"),
    one_of(Missed, "missed"),
)
# The tick asks for the next runs to be started.
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
    # Which run it is, by its time: two processes that start it at the same time start one run.
    Column("due_at", UtcTime, nullable=False),
    Column("state", String(12), nullable=False),
    Column("reason", Text),
    # How far it has come: the members up to this line were gone through in this stage.
    Column("stage", String(8), nullable=False),
    Column("line", Integer, nullable=False),
    # How many members became recipients, and how many have a row that makes no text.
    Column("made", Integer, nullable=False),
    Column("refused", Integer, nullable=False),
    # Its window: it sends from `opens_at` until before `closes_at`.
    Column("opens_at", UtcTime, nullable=False),
    Column("closes_at", UtcTime),
    Column("started_at", UtcTime, nullable=False),
    Column("ended_at", UtcTime),
    # When its results were last checked, and the last message whose results a person has seen.
    Column("looked_at", UtcTime),
    Column("seen_message_id", Serial),
    UniqueConstraint("campaign_id", "due_at"),
    one_of(RunState, "state"),
    one_of(Stage, "stage"),
)
# Small at any size of the ledger: it has the runs under way, one of each campaign.
Index(
    "ix_runs_running",
    runs.c.campaign_id,
    unique=True,
    postgresql_where=runs.c.state == RunState.RUNNING,
    sqlite_where=runs.c.state == RunState.RUNNING,
)

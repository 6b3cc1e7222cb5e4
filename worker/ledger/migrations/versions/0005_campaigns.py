"""Campaigns: audiences and their members, campaigns and their runs, and who wants no marketing."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"

SERIAL = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "audiences",
        sa.Column("no", SERIAL, nullable=False),
        sa.Column("name", sa.String(length=64), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("header", sa.Text(), nullable=False),
        sa.Column("mobile_column", sa.Text(), nullable=False),
        sa.Column("ready", sa.Boolean(), nullable=False),
        sa.Column("good", sa.Integer(), nullable=False),
        sa.Column("repeats", sa.Integer(), nullable=False),
        sa.Column("refused", sa.Integer(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("created_by", sa.String(length=64), nullable=False),
        sa.PrimaryKeyConstraint("no", name=op.f("pk_audiences")),
        sa.UniqueConstraint("name", name=op.f("uq_audiences_name")),
    )
    op.create_table(
        "campaigns",
        sa.Column("no", SERIAL, nullable=False),
        sa.Column("name", sa.String(length=64), nullable=False),
        sa.Column("account_id", sa.SmallInteger(), nullable=False),
        sa.Column("lane", sa.String(length=16), nullable=False),
        sa.Column("audience_no", SERIAL, nullable=False),
        sa.Column("content", sa.Text(), nullable=False),
        sa.Column("state", sa.String(length=12), nullable=False),
        sa.Column("since", sa.DateTime(timezone=True), nullable=False),
        sa.Column("said_by", sa.String(length=64), nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("next_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("cron", sa.Text(), nullable=True),
        sa.Column("time_zone", sa.String(length=64), nullable=False),
        sa.Column("hours", sa.String(length=11), nullable=True),
        sa.Column("leftover", sa.String(length=8), nullable=False),
        sa.Column("missed", sa.String(length=8), nullable=False),
        sa.Column("first_share", sa.Float(), nullable=True),
        sa.Column("stop_share", sa.Float(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("created_by", sa.String(length=64), nullable=False),
        sa.CheckConstraint("leftover IN ('continue', 'expire')", name=op.f("ck_campaigns_leftover")),
        sa.CheckConstraint("missed IN ('late', 'skip')", name=op.f("ck_campaigns_missed")),
        sa.CheckConstraint(
            "state IN ('draft', 'active', 'paused', 'cancelled', 'done')", name=op.f("ck_campaigns_state")
        ),
        sa.ForeignKeyConstraint(["account_id"], ["accounts.id"], name=op.f("fk_campaigns_account_id")),
        sa.ForeignKeyConstraint(["audience_no"], ["audiences.no"], name=op.f("fk_campaigns_audience_no")),
        sa.PrimaryKeyConstraint("no", name=op.f("pk_campaigns")),
        sa.UniqueConstraint("name", name=op.f("uq_campaigns_name")),
    )
    op.create_index(op.f("ix_campaigns_audience_no"), "campaigns", ["audience_no"], unique=False)
    op.create_index(
        "ix_campaigns_next",
        "campaigns",
        ["next_at"],
        unique=False,
        postgresql_where=sa.text("next_at IS NOT NULL"),
        sqlite_where=sa.text("next_at IS NOT NULL"),
    )
    op.create_table(
        "members",
        sa.Column("audience_no", SERIAL, autoincrement=False, nullable=False),
        sa.Column("line", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("mobile", sa.String(length=16), nullable=False),
        sa.Column("fields", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("audience_no", "line", name=op.f("pk_members")),
        sa.UniqueConstraint("audience_no", "mobile", name=op.f("uq_members_audience_no_mobile")),
    )
    op.create_table(
        "optouts",
        sa.Column("account_id", sa.SmallInteger(), nullable=False),
        sa.Column("mobile", sa.String(length=32), nullable=False),
        sa.Column("since", sa.DateTime(timezone=True), nullable=False),
        sa.Column("said_by", sa.String(length=64), nullable=False),
        sa.Column("why", sa.Text(), nullable=False),
        sa.Column("msg_id", sa.String(length=64), nullable=True),
        sa.ForeignKeyConstraint(["account_id"], ["accounts.id"], name=op.f("fk_optouts_account_id")),
        sa.PrimaryKeyConstraint("account_id", "mobile", name=op.f("pk_optouts")),
    )
    op.create_index("ix_optouts_newest", "optouts", ["since", "mobile"], unique=False)
    op.create_table(
        "runs",
        sa.Column("no", SERIAL, nullable=False),
        sa.Column("campaign_no", SERIAL, nullable=False),
        sa.Column("due_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("state", sa.String(length=12), nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("stage", sa.String(length=8), nullable=False),
        sa.Column("line", sa.Integer(), nullable=False),
        sa.Column("made", sa.Integer(), nullable=False),
        sa.Column("refused", sa.Integer(), nullable=False),
        sa.Column("opens_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("closes_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("looked_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("seen_message_no", SERIAL, nullable=True),
        sa.CheckConstraint("stage IN ('first', 'rest')", name=op.f("ck_runs_stage")),
        sa.CheckConstraint(
            "state IN ('running', 'done', 'cancelled', 'expired', 'skipped')", name=op.f("ck_runs_state")
        ),
        sa.ForeignKeyConstraint(["campaign_no"], ["campaigns.no"], name=op.f("fk_runs_campaign_no")),
        sa.PrimaryKeyConstraint("no", name=op.f("pk_runs")),
        sa.UniqueConstraint("campaign_no", "due_at", name=op.f("uq_runs_campaign_no_due_at")),
    )
    op.create_index(
        "ix_runs_running",
        "runs",
        ["campaign_no"],
        unique=True,
        postgresql_where=sa.text("state = 'running'"),
        sqlite_where=sa.text("state = 'running'"),
    )
    op.add_column("messages", sa.Column("run_no", SERIAL, nullable=True))
    op.create_index(
        "ix_messages_run",
        "messages",
        ["run_no", "no"],
        unique=False,
        postgresql_where=sa.text("run_no IS NOT NULL"),
        sqlite_where=sa.text("run_no IS NOT NULL"),
    )

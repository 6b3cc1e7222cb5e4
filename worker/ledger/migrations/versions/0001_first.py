"""The ledger of the first version."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

# SQLite numbers rows by itself only in a column of type INTEGER.
SERIAL = sa.BigInteger().with_variant(sa.Integer(), "sqlite")

VIEW = """
CREATE VIEW recipient_status AS
SELECT
    r.message_no,
    r.mobile,
    COALESCE(d.status, u.status, s.state) AS status,
    s.account_id,
    s.msg_id,
    s.result,
    s.tips,
    COALESCE(d.received_at, u.received_at, s.updated_at) AS updated_at
FROM recipients r
JOIN submissions s ON s.no = r.submission_no
LEFT JOIN reports d
    ON d.account_id = s.account_id AND d.msg_id = s.msg_id AND d.mobile = r.mobile AND d.status = 'delivered'
LEFT JOIN reports u
    ON u.account_id = s.account_id AND u.msg_id = s.msg_id AND u.mobile = r.mobile AND u.status = 'undelivered'
"""


def upgrade() -> None:
    op.create_table(
        "accounts",
        sa.Column("id", sa.SmallInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("name", sa.String(length=64), nullable=False),
        sa.Column("next_msg_id", sa.BigInteger(), nullable=False),
        sa.Column("gate", sa.String(length=8), nullable=False),
        sa.Column("gate_reason", sa.Text(), nullable=True),
        sa.Column("gate_since", sa.DateTime(timezone=True), nullable=False),
        sa.Column("gate_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("gate_by", sa.String(length=64), nullable=True),
        sa.Column("skew_ms", sa.BigInteger(), nullable=True),
        sa.CheckConstraint("gate IN ('open', 'closed')", name=op.f("ck_accounts_gate")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_accounts")),
        sa.UniqueConstraint("name", name=op.f("uq_accounts_name")),
    )
    op.create_table(
        "pushes",
        sa.Column("no", SERIAL, nullable=False),
        sa.Column("received_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("source", sa.String(length=64), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.Column("state", sa.String(length=12), nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("items", sa.Integer(), nullable=True),
        sa.Column("due_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint("(due_at IS NOT NULL) = (state = 'received')", name=op.f("ck_pushes_due")),
        sa.CheckConstraint("state IN ('received', 'processed', 'quarantined')", name=op.f("ck_pushes_state")),
        sa.PrimaryKeyConstraint("no", name=op.f("pk_pushes")),
    )
    op.create_index(
        "ix_pushes_waiting",
        "pushes",
        ["due_at"],
        unique=False,
        postgresql_where=sa.text("due_at IS NOT NULL"),
        sqlite_where=sa.text("due_at IS NOT NULL"),
    )
    op.create_table(
        "refused",
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("faults", sa.Text(), nullable=False),
        sa.Column("payload", sa.Text(), nullable=False),
        sa.Column("refused_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_refused")),
    )
    op.create_table(
        "messages",
        sa.Column("no", SERIAL, nullable=False),
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("account_id", sa.SmallInteger(), nullable=False),
        sa.Column("lane", sa.String(length=16), nullable=False),
        sa.Column("content", sa.Text(), nullable=False),
        sa.Column("metadata", sa.Text(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("accepted_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["account_id"], ["accounts.id"], name=op.f("fk_messages_account_id")),
        sa.PrimaryKeyConstraint("no", name=op.f("pk_messages")),
        sa.UniqueConstraint("id", name=op.f("uq_messages_id")),
    )
    op.create_table(
        "replies",
        sa.Column("no", SERIAL, nullable=False),
        sa.Column("account_id", sa.SmallInteger(), nullable=False),
        sa.Column("mobile", sa.String(length=32), nullable=False),
        sa.Column("msg_id", sa.String(length=64), nullable=False),
        sa.Column("content", sa.Text(), nullable=False),
        sa.Column("push_no", SERIAL, nullable=False),
        sa.Column("received_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["account_id"], ["accounts.id"], name=op.f("fk_replies_account_id")),
        sa.ForeignKeyConstraint(["push_no"], ["pushes.no"], name=op.f("fk_replies_push_no")),
        sa.PrimaryKeyConstraint("no", name=op.f("pk_replies")),
    )
    op.create_index(op.f("ix_replies_push_no"), "replies", ["push_no"], unique=False)
    op.create_index("ix_replies_same", "replies", ["account_id", "mobile", "received_at"], unique=False)
    op.create_table(
        "reports",
        sa.Column("account_id", sa.SmallInteger(), nullable=False),
        sa.Column("msg_id", sa.BigInteger(), nullable=False),
        sa.Column("mobile", sa.String(length=32), nullable=False),
        sa.Column("status", sa.String(length=12), nullable=False),
        sa.Column("push_no", SERIAL, nullable=True),
        sa.Column("said_by", sa.String(length=64), nullable=True),
        sa.Column("received_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("status IN ('delivered', 'undelivered')", name=op.f("ck_reports_status")),
        sa.CheckConstraint("(push_no IS NULL) = (said_by IS NOT NULL)", name=op.f("ck_reports_origin")),
        sa.ForeignKeyConstraint(["account_id"], ["accounts.id"], name=op.f("fk_reports_account_id")),
        sa.ForeignKeyConstraint(["push_no"], ["pushes.no"], name=op.f("fk_reports_push_no")),
        sa.PrimaryKeyConstraint("account_id", "msg_id", "mobile", "status", name=op.f("pk_reports")),
    )
    op.create_index(op.f("ix_reports_push_no"), "reports", ["push_no"], unique=False)
    op.create_table(
        "submissions",
        sa.Column("no", SERIAL, nullable=False),
        sa.Column("account_id", sa.SmallInteger(), nullable=False),
        sa.Column("lane", sa.String(length=16), nullable=False),
        sa.Column("msg_id", sa.Integer(), nullable=False),
        sa.Column("state", sa.String(length=12), nullable=False),
        sa.Column("due_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("attempt", sa.SmallInteger(), nullable=False),
        sa.Column("resent", sa.Boolean(), nullable=False),
        sa.Column("result", sa.Text(), nullable=True),
        sa.Column("tips", sa.Text(), nullable=True),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint(
            "(due_at IS NOT NULL) = (state IN ('held', 'queued', 'submitting'))", name=op.f("ck_submissions_due")
        ),
        sa.CheckConstraint(
            "state IN ('held', 'queued', 'submitting', 'accepted', 'rejected', 'unreported', 'unknown', 'expired', 'cancelled')",
            name=op.f("ck_submissions_state"),
        ),
        sa.ForeignKeyConstraint(["account_id"], ["accounts.id"], name=op.f("fk_submissions_account_id")),
        sa.PrimaryKeyConstraint("no", name=op.f("pk_submissions")),
        sa.UniqueConstraint("account_id", "msg_id", name=op.f("uq_submissions_account_id_msg_id")),
    )
    op.create_index(
        "ix_submissions_accepted",
        "submissions",
        ["updated_at"],
        unique=False,
        postgresql_where=sa.text("state = 'accepted'"),
        sqlite_where=sa.text("state = 'accepted'"),
    )
    op.create_index(
        "ix_submissions_unknown",
        "submissions",
        ["no"],
        unique=False,
        postgresql_where=sa.text("state = 'unknown'"),
        sqlite_where=sa.text("state = 'unknown'"),
    )
    op.create_index(
        "ix_submissions_waiting",
        "submissions",
        ["state", "lane", "due_at"],
        unique=False,
        postgresql_where=sa.text("due_at IS NOT NULL"),
        sqlite_where=sa.text("due_at IS NOT NULL"),
    )
    op.create_table(
        "recipients",
        sa.Column("message_no", SERIAL, autoincrement=False, nullable=False),
        sa.Column("mobile", sa.String(length=16), nullable=False),
        sa.Column("submission_no", SERIAL, nullable=False),
        sa.ForeignKeyConstraint(["message_no"], ["messages.no"], name=op.f("fk_recipients_message_no")),
        sa.ForeignKeyConstraint(["submission_no"], ["submissions.no"], name=op.f("fk_recipients_submission_no")),
        sa.PrimaryKeyConstraint("message_no", "mobile", name=op.f("pk_recipients")),
    )
    op.create_index(op.f("ix_recipients_submission_no"), "recipients", ["submission_no"], unique=False)
    op.execute(VIEW)

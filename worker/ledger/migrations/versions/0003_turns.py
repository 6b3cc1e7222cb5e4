"""Submissions wait in a queue for each lane, account and caller, and are counted by their mobiles."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"

TO_BE_SENT = "state IN ('held', 'queued')"
LEASED = "state = 'submitting'"


def upgrade() -> None:
    # With defaults, for SQLite has no other way to add a column that is not null; nothing relies on them.
    op.add_column("submissions", sa.Column("caller", sa.String(length=64), nullable=False, server_default=""))
    op.add_column("submissions", sa.Column("mobiles", sa.SmallInteger(), nullable=False, server_default="1"))
    submissions = sa.table("submissions", sa.column("no"), sa.column("state"), sa.column("mobiles"))
    recipients = sa.table("recipients", sa.column("submission_no"))
    counted = sa.select(sa.func.count()).where(recipients.c.submission_no == submissions.c.no).scalar_subquery()
    op.execute(sa.update(submissions).where(sa.text(TO_BE_SENT)).values(mobiles=counted))
    op.drop_index("ix_submissions_waiting", "submissions")
    for name, columns, condition in (
        ("ix_submissions_due", ["lane", "account_id", "caller", "due_at"], TO_BE_SENT),
        ("ix_submissions_late", ["expires_at"], TO_BE_SENT),
        ("ix_submissions_leased", ["due_at"], LEASED),
    ):
        where = sa.text(condition)
        op.create_index(name, "submissions", columns, unique=False, postgresql_where=where, sqlite_where=where)

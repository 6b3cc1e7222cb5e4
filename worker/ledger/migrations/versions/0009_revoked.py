"""A push may be revoked, an opt-out has the push that brought it, and a text or a body may be gone.

Its indexes, `schema` builds beside those who write to the tables.
"""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"

SERIAL = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    # Nullable and without a default, so neither database rewrites a table.
    op.add_column("pushes", sa.Column("size", sa.Integer(), nullable=True))
    op.add_column("pushes", sa.Column("revoked_at", sa.DateTime(timezone=True), nullable=True))
    op.add_column("pushes", sa.Column("revoked_by", sa.String(length=64), nullable=True))
    op.add_column("pushes", sa.Column("undone_at", sa.DateTime(timezone=True), nullable=True))
    op.add_column("messages", sa.Column("text_check", sa.SmallInteger(), nullable=True))
    op.add_column("optouts", sa.Column("push_no", SERIAL, nullable=True))

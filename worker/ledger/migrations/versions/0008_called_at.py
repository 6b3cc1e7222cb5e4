"""When a submission was called, and which credentials an account has."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    # Nullable and without a default, so neither database rewrites the table.
    op.add_column("submissions", sa.Column("called_at", sa.DateTime(timezone=True), nullable=True))
    op.add_column("accounts", sa.Column("epr_id", sa.BigInteger(), nullable=True))
    op.add_column("accounts", sa.Column("user_id", sa.Text(), nullable=True))

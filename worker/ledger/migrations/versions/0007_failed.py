"""A submission counts the answers 0 失败 apart from its other attempts."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    # A constant default: neither database rewrites the table, and workers of the version before may insert meanwhile.
    op.add_column("submissions", sa.Column("failed", sa.SmallInteger(), server_default="0", nullable=False))

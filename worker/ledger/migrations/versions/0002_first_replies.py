"""Replies are kept as they came; the view `first_replies` says which of them repeat an earlier one."""

import hashlib

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

ROWS = 1000

# 30 minutes before a row came. SQLite keeps times as text, and its own functions would round their fraction of a second.
WINDOW_BEGINS = {
    "postgresql": "{row}.received_at - interval '30 minutes'",
    "sqlite": "datetime(substr({row}.received_at, 1, 19), '-30 minutes') || substr({row}.received_at, 20)",
}

# Version 0001 kept of a push what was not there yet, looking 30 minutes to both sides: what it kept is numbered after that.
NUMBER = """
UPDATE replies SET nth = 1 + (
    SELECT count(*)
    FROM replies e
    WHERE e.digest = replies.digest
        AND e.no < replies.no
        AND e.received_at >= {replies}
        AND replies.received_at >= {e}
)
"""

VIEW = """
CREATE VIEW first_replies AS
SELECT r.no, r.account_id, r.mobile, r.msg_id, r.content, r.push_no, r.received_at
FROM replies r
WHERE NOT EXISTS (
    SELECT 1
    FROM replies e
    WHERE e.digest = r.digest
        AND e.nth = r.nth
        AND e.received_at >= {r}
        AND (e.received_at, e.push_no) < (r.received_at, r.push_no)
)
"""


def upgrade() -> None:
    connection = op.get_bind()
    window_begins = WINDOW_BEGINS[connection.dialect.name]
    op.drop_index("ix_replies_same", "replies")
    op.drop_index(op.f("ix_replies_push_no"), "replies")
    op.add_column("replies", sa.Column("nth", sa.Integer(), nullable=True))
    op.add_column("replies", sa.Column("digest", sa.LargeBinary(length=16), nullable=True))
    _digest(connection)
    op.create_index("ix_replies_same", "replies", ["digest", "nth", "received_at", "push_no"], unique=False)
    op.execute(NUMBER.format(**{row: window_begins.format(row=row) for row in ("replies", "e")}))
    with op.batch_alter_table("replies") as replies:  # SQLite cannot change a column: there the table is copied
        replies.alter_column("nth", existing_type=sa.Integer(), nullable=False)
        replies.alter_column("digest", existing_type=sa.LargeBinary(length=16), nullable=False)
        replies.create_unique_constraint(op.f("uq_replies_push_no_digest_nth"), ["push_no", "digest", "nth"])
    op.create_index("ix_replies_newest", "replies", ["received_at", "no"], unique=False)
    op.create_index("ix_replies_of", "replies", ["mobile", "received_at", "no"], unique=False)
    op.execute(VIEW.format(r=window_begins.format(row="r")))


def _digest(connection: sa.Connection) -> None:
    """As `worker.ledger.pushes` made them when this was written."""
    some = sa.text(
        "SELECT no, account_id, mobile, msg_id, content FROM replies WHERE no > :after ORDER BY no LIMIT :rows"
    )
    note = sa.text("UPDATE replies SET digest = :digest WHERE no = :no")
    after = 0
    while rows := connection.execute(some, {"after": after, "rows": ROWS}).all():
        digests = [hashlib.blake2b("\0".join(map(str, row[1:])).encode(), digest_size=16).digest() for row in rows]
        connection.execute(note, [{"no": row.no, "digest": digest} for row, digest in zip(rows, digests, strict=True)])
        after = rows[-1].no

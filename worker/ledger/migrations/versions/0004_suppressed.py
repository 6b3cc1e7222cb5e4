"""A recipient may be left out: it has a reason then, and no submission."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"

# The time of what was left out is looked up where it is asked for: nobody else pays for a join to its message.
VIEW = """
CREATE VIEW recipient_status AS
SELECT
    r.message_no,
    r.mobile,
    COALESCE(d.status, u.status, s.state, 'suppressed') AS status,
    r.suppressed,
    s.account_id,
    s.msg_id,
    s.result,
    s.tips,
    COALESCE(
        d.received_at, u.received_at, s.updated_at, (SELECT m.accepted_at FROM messages m WHERE m.no = r.message_no)
    ) AS updated_at
FROM recipients r
LEFT JOIN submissions s ON s.no = r.submission_no
LEFT JOIN reports d
    ON d.account_id = s.account_id AND d.msg_id = s.msg_id AND d.mobile = r.mobile AND d.status = 'delivered'
LEFT JOIN reports u
    ON u.account_id = s.account_id AND u.msg_id = s.msg_id AND u.mobile = r.mobile AND u.status = 'undelivered'
"""


def upgrade() -> None:
    # A table that a view reads cannot be copied and put in its own place, which is how SQLite changes a column.
    op.execute("DROP VIEW recipient_status")
    with op.batch_alter_table("recipients") as recipients:
        recipients.alter_column("submission_no", existing_type=sa.BigInteger(), nullable=True)
        recipients.add_column(sa.Column("suppressed", sa.String(length=16), nullable=True))
        recipients.create_check_constraint(
            op.f("ck_recipients_sent_or_suppressed"), "(submission_no IS NULL) = (suppressed IS NOT NULL)"
        )
    op.execute(VIEW)

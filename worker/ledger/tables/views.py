"""The views, which the migrations make."""

from sqlalchemy import BigInteger, Integer, SmallInteger, String, Text, column, table

from worker.ledger.tables.columns import UtcTime

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

The columns of its submission (from `account_id` to `tips`) are null where it has none.
"""

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

"""The tables. `migrations/` makes them; a test holds that both say the same.

What is derived is not stored: a recipient's status follows from its report, else from its submission, or from its
having none (view `recipient_status`). So an attempt writes one row, however many recipients it has. A report is one
insert, which needs no other row to be there.

Rows that come by the thousand have no foreign key to a row that many of them share, such as their account's or their
push's. On PostgreSQL each insert would lock that row, and `FOR UPDATE` would wait for them all. Each row that many lock
at once also uses up numbers of "multixact members", which run out. Accounts are never removed, nor are pushes.
"""

from worker.ledger.tables.campaigns import audiences, campaigns, members, runs
from worker.ledger.tables.columns import Serial, UtcTime, metadata
from worker.ledger.tables.inbound import HAS_BODY, pushes, replies, reports
from worker.ledger.tables.marks import marks
from worker.ledger.tables.sending import accounts, messages, optouts, recipients, refused, submissions
from worker.ledger.tables.views import first_replies, recipient_status

__all__ = [
    "BUILT_BESIDE",
    "HAS_BODY",
    "Serial",
    "UtcTime",
    "accounts",
    "audiences",
    "campaigns",
    "first_replies",
    "marks",
    "members",
    "messages",
    "metadata",
    "optouts",
    "pushes",
    "recipient_status",
    "recipients",
    "refused",
    "replies",
    "reports",
    "runs",
    "submissions",
]

BUILT_BESIDE = tuple(
    (owner, index)
    for owner in metadata.sorted_tables
    for index in sorted(owner.indexes, key=lambda index: str(index.name))
    if index.dialect_options["postgresql"]["concurrently"]
)
"""Tables that may be large, each with an index that is built while others write to the table (see `schema`)."""

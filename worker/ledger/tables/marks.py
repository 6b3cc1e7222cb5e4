"""The table of marks: how far the steps that go through a table have come."""

from sqlalchemy import BigInteger, Column, String, Table

from worker.ledger.tables.columns import metadata

marks = Table(
    "marks",
    metadata,
    # A step that goes round the rows of a table, some at a time, and the last row that it has looked at.
    Column("name", String(32), primary_key=True),
    Column("last_id", BigInteger, nullable=False),
)

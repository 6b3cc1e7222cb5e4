"""Whether the ledger works: the time of its server, and a write."""

from datetime import UTC, datetime

from sqlalchemy import Engine, func, select, text

from worker.ledger.engine import reading

TEST_WRITE_BYTES = 1_000_000
"""The size that the server must be able to take now. A single row would fit into an existing page, even on a full disk.
"""


def ledger_time(engine: Engine) -> datetime | None:
    """Returns the time of the ledger's server; None for SQLite, which has only this machine's clock."""
    if engine.dialect.name == "sqlite":
        return None
    with reading(engine) as connection:
        now: datetime = connection.execute(select(func.clock_timestamp())).scalar_one()
        return now.astimezone(UTC)


def check_writable(engine: Engine) -> None:
    """Writes and commits a row as it is, and to PostgreSQL a temporary megabyte, which is gone with the commit.

    The megabyte lies in the database's own folder. Raises OperationalError where the ledger cannot be written. In
    SQLite the megabyte would stay as free pages, and prove nothing the next time: there the caller looks at the disk.
    """
    with engine.begin() as connection:
        # A row of ours in any case: a read-only server, or a standby, may have temporary tables.
        connection.execute(text("UPDATE alembic_version SET version_num = version_num"))
        if connection.dialect.name == "postgresql":
            # Random, or PostgreSQL would compress it to nothing.
            filler = "SELECT md5(random()::text) AS filler FROM generate_series(1, :rows)"
            connection.execute(
                text(f"CREATE TEMPORARY TABLE test_write ON COMMIT DROP AS {filler}"),
                {"rows": TEST_WRITE_BYTES // 32},
            )

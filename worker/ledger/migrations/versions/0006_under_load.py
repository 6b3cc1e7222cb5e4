"""What comes by the thousand refers to no row that all of it shares: each insert would lock that row.

On PostgreSQL each change here is one of the catalogue: no table is read or copied, so its locks are short. SQLite cannot drop a
foreign key; there the text of the schema is edited, as https://www.sqlite.org/lang_altertable.html (section 7) describes it.
"""

import re

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"

REFERENCES = (
    ("messages", "account_id"),
    ("submissions", "account_id"),
    ("reports", "account_id"),
    ("reports", "push_no"),
    ("replies", "account_id"),
    ("replies", "push_no"),
    ("optouts", "account_id"),
    ("campaigns", "account_id"),
)

# Each call changes its row three times, and each push once: of ten million rows PostgreSQL would let two million pile up first.
VACUUMED = dict.fromkeys(
    ("submissions", "pushes"),
    "autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 5000, autovacuum_analyze_scale_factor = 0.02",
)

CALL_OFF = """
UPDATE submissions SET
    called_off = true,
    state = CASE WHEN state NOT IN ('held', 'queued') THEN state WHEN resent THEN 'unknown' ELSE 'cancelled' END,
    due_at = CASE WHEN state IN ('held', 'queued') THEN NULL ELSE due_at END
WHERE {condition} AND caller IN (SELECT 'campaign/' || no FROM runs WHERE state = 'cancelled')
"""


def upgrade() -> None:
    connection = op.get_bind()
    op.create_table(
        "marks",
        sa.Column("name", sa.String(length=32), nullable=False),
        sa.Column("no", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_marks")),
    )
    op.execute("INSERT INTO marks VALUES ('settle', 0)")
    # Both databases keep the default with the table, and write no row. What was cancelled before, and is not over, is marked.
    op.add_column("submissions", sa.Column("called_off", sa.Boolean(), nullable=False, server_default=sa.false()))
    for condition in ("state IN ('held', 'queued')", "state = 'submitting'", "state = 'unknown'"):
        op.execute(CALL_OFF.format(condition=condition))
    if connection.dialect.name == "sqlite":
        _drop_references_of_sqlite(connection)
        return
    for table, vacuumed in VACUUMED.items():
        op.execute(f"ALTER TABLE {table} SET ({vacuumed})")
    for table, column in REFERENCES:
        op.drop_constraint(op.f(f"fk_{table}_{column}"), table, type_="foreignkey")
    # Each start used up a number; those that no account has are there again.
    op.execute("SELECT setval(pg_get_serial_sequence('accounts', 'id'), max(id)) FROM accounts HAVING count(*) > 0")


def _drop_references_of_sqlite(connection: sa.Connection) -> None:
    version = connection.exec_driver_sql("PRAGMA schema_version").scalar_one()
    connection.exec_driver_sql("PRAGMA writable_schema = ON")
    for table in sorted({table for table, _ in REFERENCES}):
        this = {"name": table}
        schema = connection.execute(
            sa.text("SELECT sql FROM sqlite_schema WHERE type = 'table' AND name = :name"), this
        )
        text = schema.scalar_one()
        for column in (column for its_table, column in REFERENCES if its_table == table):
            clause = rf",\s*CONSTRAINT fk_{table}_{column} FOREIGN KEY\({column}\) REFERENCES \w+ \(\w+\)"
            text, found = re.subn(clause, "", text)
            if found != 1:
                raise RuntimeError(
                    f"the foreign key fk_{table}_{column} is {found} times in the schema of {table}, not once"
                )
        connection.execute(
            sa.text("UPDATE sqlite_schema SET sql = :sql WHERE type = 'table' AND name = :name"), this | {"sql": text}
        )
    connection.exec_driver_sql(f"PRAGMA schema_version = {version + 1}")
    # Not OFF: RESET has this connection, too, read the schema anew, and fail if it makes no sense.
    connection.exec_driver_sql("PRAGMA writable_schema = RESET")

"""What numbers a row is its `id`, and the id that an app knows a message by is its `public_id`.

On PostgreSQL each change is one of the catalogue, and views and rights follow: no table is read or copied, so the locks are
short. SQLite renames columns itself; names of constraints and indexes stand in the text of its schema, and are changed there, as
https://www.sqlite.org/lang_altertable.html (section 7) describes it.

A worker of an older version writes to the old names: what its call came to could not be recorded any more. So nothing is changed
while a call is under way.
"""

from datetime import UTC, datetime

import sqlalchemy as sa
from alembic import op

from worker.ledger.schema import LedgerInUse

revision = "0010"
down_revision = "0009"

COLUMNS = (
    ("messages", "id", "public_id"),
    ("messages", "no", "id"),
    ("messages", "run_no", "run_id"),
    ("submissions", "no", "id"),
    ("recipients", "message_no", "message_id"),
    ("recipients", "submission_no", "submission_id"),
    ("pushes", "no", "id"),
    ("reports", "push_no", "push_id"),
    ("replies", "no", "id"),
    ("replies", "push_no", "push_id"),
    ("optouts", "push_no", "push_id"),
    ("audiences", "no", "id"),
    ("members", "audience_no", "audience_id"),
    ("campaigns", "no", "id"),
    ("campaigns", "audience_no", "audience_id"),
    ("runs", "no", "id"),
    ("runs", "campaign_no", "campaign_id"),
    ("runs", "seen_message_no", "seen_message_id"),
    ("marks", "no", "last_id"),
)
VIEW_COLUMNS = (
    ("recipient_status", "message_no", "message_id"),
    ("first_replies", "no", "id"),
    ("first_replies", "push_no", "push_id"),
)
CONSTRAINTS = (
    ("messages", "uq_messages_id", "uq_messages_public_id"),
    ("recipients", "fk_recipients_message_no", "fk_recipients_message_id"),
    ("recipients", "fk_recipients_submission_no", "fk_recipients_submission_id"),
    ("replies", "uq_replies_push_no_digest_nth", "uq_replies_push_id_digest_nth"),
    ("members", "uq_members_audience_no_mobile", "uq_members_audience_id_mobile"),
    ("campaigns", "fk_campaigns_audience_no", "fk_campaigns_audience_id"),
    ("runs", "fk_runs_campaign_no", "fk_runs_campaign_id"),
    ("runs", "uq_runs_campaign_no_due_at", "uq_runs_campaign_id_due_at"),
)
INDEXES = (
    ("ix_recipients_submission_no", "ix_recipients_submission_id"),
    ("ix_reports_push_no", "ix_reports_push_id"),
    ("ix_campaigns_audience_no", "ix_campaigns_audience_id"),
)
NUMBERED = ("messages", "submissions", "pushes", "replies", "audiences", "campaigns", "runs")


def _calls_under_way(connection: sa.Connection) -> tuple[int, datetime | None]:
    """Returns how many calls are under way, and when the last lease of theirs ends."""
    submissions = sa.table("submissions", sa.column("state"), sa.column("due_at", sa.DateTime(timezone=True)))
    due_at = submissions.c.due_at
    query = sa.select(sa.func.count(), sa.func.max(due_at)).where(
        submissions.c.state == "submitting", due_at > sa.func.current_timestamp()
    )
    calls, until = connection.execute(query).one()
    return calls, until


def upgrade() -> None:
    connection = op.get_bind()
    for table, old, new in COLUMNS:
        op.execute(f"ALTER TABLE {table} RENAME COLUMN {old} TO {new}")
    # Asked for once the table is locked: no call can begin any more.
    calls, until = _calls_under_way(connection)
    if until:
        raise LedgerInUse(
            f"calls to the gateway are under way ({calls}), and their workers could not record what comes of them;"
            " the ledger was not changed.\nStop the workers, wait until they have ended, then do it again."
            f" If they were killed, do it again after {_in_utc(until):%H:%M:%S} UTC."
        )
    if connection.dialect.name == "sqlite":
        _rename_in_schema_of_sqlite(connection)
        return
    for view, old, new in VIEW_COLUMNS:
        op.execute(f"ALTER VIEW {view} RENAME COLUMN {old} TO {new}")
    for table, old, new in CONSTRAINTS:
        op.execute(f"ALTER TABLE {table} RENAME CONSTRAINT {old} TO {new}")
    for old, new in INDEXES:
        op.execute(f"ALTER INDEX {old} RENAME TO {new}")
    for table in NUMBERED:
        op.execute(f"ALTER SEQUENCE {table}_no_seq RENAME TO {table}_id_seq")


def _in_utc(moment: datetime) -> datetime:
    """SQLite keeps times without their zone, UTC."""
    return moment.astimezone(UTC) if moment.tzinfo else moment


def _rename_in_schema_of_sqlite(connection: sa.Connection) -> None:
    version = connection.exec_driver_sql("PRAGMA schema_version").scalar_one()
    connection.exec_driver_sql("PRAGMA writable_schema = ON")
    for table, old, new in CONSTRAINTS:
        text = "UPDATE sqlite_schema SET sql = replace(sql, :old, :new) WHERE type = 'table' AND name = :table"
        connection.execute(sa.text(text), {"table": table, "old": f"CONSTRAINT {old} ", "new": f"CONSTRAINT {new} "})
    for old, new in INDEXES:
        text = (
            "UPDATE sqlite_schema SET name = :new, sql = replace(sql, :old, :new) WHERE type = 'index' AND name = :old"
        )
        connection.execute(sa.text(text), {"old": old, "new": new})
    connection.exec_driver_sql(f"PRAGMA schema_version = {version + 1}")
    # Not OFF: RESET has this connection, too, read the schema anew, and fail if it makes no sense.
    connection.exec_driver_sql("PRAGMA writable_schema = RESET")

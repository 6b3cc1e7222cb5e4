"""The backlog of the ledger, in numbers, for `sms doctor`."""

from dataclasses import dataclass
from datetime import UTC, datetime

from sqlalchemy import ColumnElement, Connection, Engine, case, func, select, text

from worker.domain.status import State
from worker.ledger import tables as t
from worker.ledger.dialect import literally
from worker.ledger.engine import reading
from worker.ledger.inbound.pushes import QUARANTINED, RECEIVED
from worker.ledger.sending import accounts
from worker.ledger.sending.submissions import TO_BE_SENT
from worker.ledger.sending.unknown import Which
from worker.ledger.sending.unknown import count as count_unknown


def ledger_time(engine: Engine) -> datetime | None:
    """Returns the time of the ledger's server; None for SQLite, which has only this machine's clock."""
    if engine.dialect.name == "sqlite":
        return None
    with reading(engine) as connection:
        now: datetime = connection.execute(select(func.clock_timestamp())).scalar_one()
        return now.astimezone(UTC)


@dataclass(frozen=True, slots=True)
class Backlog:
    """How many there are, and how many of them are overdue since the time asked for."""

    count: int
    overdue: int


PROBE_BYTES = 1_000_000
"""The size that the server must be able to take now. A single row would fit into an existing page, even on a full disk.
"""


def write(engine: Engine) -> None:
    """Writes and commits a row as it is, and to PostgreSQL a temporary megabyte, which is gone with the commit.

    The megabyte lies in the database's own folder. Raises OperationalError where the ledger cannot be written. In
    SQLite the megabyte would stay as free pages, and prove nothing the next time: there the caller looks at the disk.
    """
    with engine.begin() as connection:
        # A row of ours in any case: a read-only server, or a standby, may have temporary tables.
        connection.execute(text("UPDATE alembic_version SET version_num = version_num"))
        if connection.dialect.name == "postgresql":
            # Random, or PostgreSQL would compress it to nothing.
            probe = "SELECT md5(random()::text) AS filler FROM generate_series(1, :rows)"
            connection.execute(
                text(f"CREATE TEMPORARY TABLE probe ON COMMIT DROP AS {probe}"),
                {"rows": PROBE_BYTES // 32},
            )


def waiting(connection: Connection, *, overdue_since: datetime) -> dict[str, Backlog]:
    """Returns the submissions in each waiting state, and how many of them are overdue since that time."""
    query = select(t.submissions.c.state, func.count(), _late(t.submissions.c.due_at <= overdue_since))
    # Both conditions as the partial indexes have them: the other rows of a large ledger are not read.
    waits = TO_BE_SENT, t.submissions.c.state == literally(State.SUBMITTING)
    rows = [
        row for condition in waits for row in connection.execute(query.where(condition).group_by(t.submissions.c.state))
    ]
    return {state: Backlog(count, late) for state, count, late in rows}


def waiting_by_account(connection: Connection) -> dict[str, int]:
    """Returns how many submissions wait to be sent, by account."""
    query = select(t.submissions.c.account_id, func.count()).where(TO_BE_SENT).group_by(t.submissions.c.account_id)
    names = {account_id: name for name, account_id in accounts.ids(connection).items()}
    return {names[account_id]: count for account_id, count in connection.execute(query)}


def unknown(connection: Connection) -> int:
    """Returns how many recipients have an unknown status."""
    # By their submissions, which are few: SQLite would read the whole view.
    _, recipients = count_unknown(connection, Which())
    return recipients


def refused(connection: Connection, *, since: datetime) -> int:
    """Returns how many messages sent by name were refused since that time, and payloads that are not messages."""
    query = select(func.count()).select_from(t.refused)
    return connection.execute(query.where(t.refused.c.refused_at >= since)).scalar_one()


def unprocessed_pushes(connection: Connection, *, overdue_since: datetime) -> Backlog:
    """Returns how many pushes nobody has processed, and how many of them came before that time."""
    query = select(func.count(), _late(t.pushes.c.received_at <= overdue_since)).where(t.pushes.c.due_at.is_not(None))
    return Backlog(*connection.execute(query.where(t.pushes.c.state == RECEIVED)).one())


def quarantined_pushes(connection: Connection) -> int:
    """Returns how many pushes could not be used, whole or in part."""
    return connection.execute(select(func.count()).where(t.pushes.c.state == literally(QUARANTINED))).scalar_one()


def _late(condition: ColumnElement[bool]) -> ColumnElement[int]:
    return func.coalesce(func.sum(case((condition, 1), else_=0)), 0)

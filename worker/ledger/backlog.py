"""How the ledger's work stands, in numbers: what `sms doctor` asks."""

from dataclasses import dataclass
from datetime import UTC, datetime

from sqlalchemy import ColumnElement, Connection, Engine, case, func, select, text

from worker.domain.status import State
from worker.ledger import tables as t
from worker.ledger.dialect import literally
from worker.ledger.engine import reading
from worker.ledger.inbound.pushes import QUARANTINED, RECEIVED
from worker.ledger.sending.accounts import numbers
from worker.ledger.sending.submissions import TO_BE_SENT
from worker.ledger.sending.unknown import Which
from worker.ledger.sending.unknown import count as count_unknown


def ledger_time(engine: Engine) -> datetime | None:
    """What time it is to the ledger's server; None for SQLite, which has no clock but this machine's."""
    if engine.dialect.name == "sqlite":
        return None
    with reading(engine) as connection:
        now: datetime = connection.execute(select(func.clock_timestamp())).scalar_one()
        return now.astimezone(UTC)


@dataclass(frozen=True, slots=True)
class Backlog:
    """How many there are, and how many of them should have been seen to by the time asked for."""

    count: int
    overdue: int


PROBE_BYTES = 1_000_000
"""What a server must be able to take now. A row fits into a page that is there already, also with the disk full."""


def write(engine: Engine) -> None:
    """Writes and commits a row as it is, and to PostgreSQL a temporary megabyte, in the database's own folder, that is gone with the commit.

    Raises OperationalError where that cannot be done. In SQLite the megabyte would stay as free pages, and prove nothing the
    next time: whoever asks looks at the disk.
    """
    with engine.begin() as connection:
        # A row of our own in any case: a server that is set read-only, or a standby, may have temporary tables.
        connection.execute(text("UPDATE alembic_version SET version_num = version_num"))
        if connection.dialect.name == "postgresql":
            # Random, or it would be compressed to nothing.
            probe = "SELECT md5(random()::text) AS filler FROM generate_series(1, :rows)"
            connection.execute(
                text(f"CREATE TEMPORARY TABLE probe ON COMMIT DROP AS {probe}"),
                {"rows": PROBE_BYTES // 32},
            )


def waiting(connection: Connection, *, overdue_since: datetime) -> dict[str, Backlog]:
    """The submissions in each waiting state, those overdue for longer than since then counted apart."""
    counted = select(t.submissions.c.state, func.count(), _late(t.submissions.c.due_at <= overdue_since))
    # The two as the partial indexes have them: the others of a large ledger are not looked at.
    waits = TO_BE_SENT, t.submissions.c.state == literally(State.SUBMITTING)
    rows = [row for each in waits for row in connection.execute(counted.where(each).group_by(t.submissions.c.state))]
    return {state: Backlog(count, late) for state, count, late in rows}


def waiting_by_account(connection: Connection) -> dict[str, int]:
    """How many submissions wait to be sent, by account."""
    counted = select(t.submissions.c.account_id, func.count()).where(TO_BE_SENT).group_by(t.submissions.c.account_id)
    names = {number: name for name, number in numbers(connection).items()}
    return {names[account_id]: count for account_id, count in connection.execute(counted)}


def unknown(connection: Connection) -> int:
    """Recipients whose status is unknown."""
    # Not by the view, which SQLite would go through from end to end: by their submissions, which are few.
    _, recipients = count_unknown(connection, Which())
    return recipients


def refused(connection: Connection, *, since: datetime) -> int:
    """The messages that were refused since then: by name, or what was no message at all."""
    query = select(func.count()).select_from(t.refused)
    return connection.execute(query.where(t.refused.c.refused_at >= since)).scalar_one()


def unprocessed_pushes(connection: Connection, *, overdue_since: datetime) -> Backlog:
    """The pushes that nobody has processed, those that came before that time counted apart."""
    query = select(func.count(), _late(t.pushes.c.received_at <= overdue_since)).where(t.pushes.c.due_at.is_not(None))
    return Backlog(*connection.execute(query.where(t.pushes.c.state == RECEIVED)).one())


def quarantined_pushes(connection: Connection) -> int:
    """The pushes that could not be used, whole or in part."""
    return connection.execute(select(func.count()).where(t.pushes.c.state == literally(QUARANTINED))).scalar_one()


def _late(condition: ColumnElement[bool]) -> ColumnElement[int]:
    return func.coalesce(func.sum(case((condition, 1), else_=0)), 0)

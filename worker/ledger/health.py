"""How the ledger's work stands, in numbers: what `sms doctor` asks."""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import ColumnElement, Connection, case, func, select

from worker.domain.status import State
from worker.ledger.pushes import QUARANTINED, RECEIVED
from worker.ledger.statements import literally
from worker.ledger.submissions import TO_BE_SENT
from worker.ledger.tables import pushes, submissions
from worker.ledger.tables import refused as refused_messages
from worker.ledger.unknown import Which
from worker.ledger.unknown import count as count_unknown


@dataclass(frozen=True, slots=True)
class Backlog:
    """How many there are, and how many of them should have been seen to by the time asked for."""

    count: int
    overdue: int


def waiting(connection: Connection, *, overdue_since: datetime) -> dict[str, Backlog]:
    """The submissions in each waiting state, those overdue for longer than since then counted apart."""
    counted = select(submissions.c.state, func.count(), _late(submissions.c.due_at <= overdue_since))
    # The two as the partial indexes have them: the others of a large ledger are not looked at.
    waits = TO_BE_SENT, submissions.c.state == literally(State.SUBMITTING)
    rows = [row for each in waits for row in connection.execute(counted.where(each).group_by(submissions.c.state))]
    return {state: Backlog(count, late) for state, count, late in rows}


def unknown(connection: Connection) -> int:
    """Recipients whose status is unknown."""
    # Not by the view, which SQLite would go through from end to end: by their submissions, which are few.
    _, recipients = count_unknown(connection, Which())
    return recipients


def refused(connection: Connection, *, since: datetime) -> int:
    """The messages that were refused since then: by name, or what was no message at all."""
    query = select(func.count()).select_from(refused_messages)
    return connection.execute(query.where(refused_messages.c.refused_at >= since)).scalar_one()


def unprocessed_pushes(connection: Connection, *, overdue_since: datetime) -> Backlog:
    """The pushes that nobody has processed, those that came before that time counted apart."""
    query = select(func.count(), _late(pushes.c.received_at <= overdue_since)).where(pushes.c.due_at.is_not(None))
    return Backlog(*connection.execute(query.where(pushes.c.state == RECEIVED)).one())


def quarantined_pushes(connection: Connection) -> int:
    """The pushes that could not be used, whole or in part."""
    return connection.execute(select(func.count()).where(pushes.c.state == QUARANTINED)).scalar_one()


def _late(condition: ColumnElement[bool]) -> ColumnElement[int]:
    return func.coalesce(func.sum(case((condition, 1), else_=0)), 0)

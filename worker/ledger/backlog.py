"""The backlog of the ledger, in numbers, for `sms doctor`."""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import ColumnElement, Connection, case, func, select

from worker.domain.status import State
from worker.ledger import tables as t
from worker.ledger.dialect import inlined
from worker.ledger.inbound.pushes import QUARANTINED, RECEIVED
from worker.ledger.sending import accounts
from worker.ledger.sending.submissions import TO_BE_SENT
from worker.ledger.sending.unknown import UnknownFilter
from worker.ledger.sending.unknown import count as count_unknown


@dataclass(frozen=True, slots=True)
class Backlog:
    """How many there are, and how many of them are overdue since the time asked for."""

    count: int
    overdue: int


def waiting(connection: Connection, *, overdue_since: datetime) -> dict[str, Backlog]:
    """Returns the submissions in each waiting state, and how many of them are overdue since that time."""
    query = select(t.submissions.c.state, func.count(), _late(t.submissions.c.due_at <= overdue_since))
    # Both conditions as the partial indexes have them: the other rows of a large ledger are not read.
    waits = TO_BE_SENT, t.submissions.c.state == inlined(State.SUBMITTING)
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
    _, recipients = count_unknown(connection, UnknownFilter())
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
    return connection.execute(select(func.count()).where(t.pushes.c.state == inlined(QUARANTINED))).scalar_one()


def _late(condition: ColumnElement[bool]) -> ColumnElement[int]:
    return func.coalesce(func.sum(case((condition, 1), else_=0)), 0)

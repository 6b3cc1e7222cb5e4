"""The submissions of a run that wait in the ledger.

They form a queue of their own, for each run is a caller of its lane.
"""

from datetime import datetime

from sqlalchemy import ColumnElement, Connection, Select, case, func, null, select, union_all, update

from worker.domain.campaigns.campaign import Campaign, Run, caller_of
from worker.domain.status import WAITING, State
from worker.ledger import tables as t
from worker.ledger.dialect import inlined
from worker.ledger.sending.submissions import TO_BE_SENT


def waiting(connection: Connection, campaign: Campaign, run: Run, *, most: int) -> int:
    """Returns how many of the run's submissions wait to be called, counted up to `most`."""
    waits = select(t.submissions.c.id).where(*_waits(campaign.lane, campaign.account_id, run.id)).limit(most)
    return connection.scalar(select(func.count()).select_from(waits.subquery())) or 0


def is_any_left(connection: Connection, campaign: Campaign, run: Run) -> bool:
    """Whether a submission of the run waits to be called or is being called."""
    if waiting(connection, campaign, run, most=1):
        return True
    calling = select(t.submissions.c.id).where(*_has_state(State.SUBMITTING, run.id))
    return connection.execute(calling.limit(1)).first() is not None


def call_off(connection: Connection, campaign_id: int, run_id: int, *, now: datetime) -> None:
    """Calls off the run's submissions. Those that wait are cancelled; those under way end, and are not made again."""
    campaign = select(t.campaigns.c.lane, t.campaigns.c.account_id).where(t.campaigns.c.id == campaign_id)
    lane, account_id = connection.execute(campaign).one()
    # Twice: the first statement does not see what a probe splits off meanwhile, for it waits for the probe's row.
    for _ in range(2):
        _call_off(connection, _not_over(lane, account_id, run_id), now)


def _call_off(connection: Connection, submission_ids: Select[int], now: datetime) -> None:
    row = t.submissions.c
    connection.execute(
        update(t.submissions)
        .where(row.id.in_(submission_ids), row.state.in_([*WAITING, State.UNKNOWN]))
        .values(
            called_off=True,
            # What was to be sent again may have been taken the first time.
            state=case((~TO_BE_SENT, row.state), (row.resent, State.UNKNOWN), else_=State.CANCELLED),
            due_at=case((TO_BE_SENT, null()), else_=row.due_at),
            updated_at=case((TO_BE_SENT, now), else_=row.updated_at),
        )
    )


def _not_over(lane: str, account_id: int, run_id: int) -> Select[int]:
    # One statement for what waits, is being called or is unknown. A row that moves between these states at the same
    # time has moved before the statement, or finds itself called off. Several statements could each miss it.
    conditions = (
        _waits(lane, account_id, run_id),
        _has_state(State.SUBMITTING, run_id),
        _has_state(State.UNKNOWN, run_id),
    )
    not_over = union_all(*(select(t.submissions.c.id).where(*condition) for condition in conditions)).cte("its_rows")
    return select(not_over.c.id)


def _waits(lane: str, account_id: int, run_id: int) -> tuple[ColumnElement[bool], ...]:
    row = t.submissions.c
    return row.lane == lane, row.account_id == account_id, row.caller == caller_of(run_id), TO_BE_SENT


def _has_state(state: State, run_id: int) -> tuple[ColumnElement[bool], ...]:
    return t.submissions.c.state == inlined(state), t.submissions.c.caller == caller_of(run_id)

"""Campaigns and their runs: kept, started at their time, moved on. Every change is a conditional UPDATE on what it leaves
(`domain.campaign`): whoever changes no row has lost the race, and stops."""

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, case, exists, func, insert, null, select, union_all, update

from worker.domain.campaigns.campaign import (
    CALLER,
    CAMPAIGN_TRANSITIONS,
    Campaign,
    CampaignState,
    Leftover,
    Missed,
    Run,
    RunState,
    Stage,
    Window,
)
from worker.domain.status import WAITING, Report, State
from worker.ledger import tables as t
from worker.ledger.dialect import insert_new, literally
from worker.ledger.sending.submissions import TO_BE_SENT

ITSELF = "the campaign itself"
"""Who did what no person did."""


_C = t.campaigns.c
_CAMPAIGNS = (
    select(
        _C.id,
        _C.name,
        t.accounts.c.name.label("account"),
        _C.account_id,
        _C.lane,
        _C.audience_id,
        t.audiences.c.name.label("audience"),
        t.audiences.c.header,
        _C.content,
        _C.state,
        _C.since,
        _C.said_by,
        _C.reason,
        _C.next_at,
        _C.cron,
        _C.time_zone,
        _C.hours,
        _C.leftover,
        _C.missed,
        _C.first_share,
        _C.stop_share,
        _C.created_at,
        _C.created_by,
    )
    .join(t.accounts, t.accounts.c.id == _C.account_id)
    .join(t.audiences, t.audiences.c.id == _C.audience_id)
)


def find(connection: Connection, name: str) -> Campaign | None:
    """The campaign of that name, if there is one."""
    return _campaign(connection, _CAMPAIGNS.where(_C.name == name))


def get(connection: Connection, campaign_id: int) -> Campaign | None:
    """The campaign of that number, if there is one."""
    return _campaign(connection, _CAMPAIGNS.where(_C.id == campaign_id))


def listed(connection: Connection, *, limit: int) -> list[Campaign]:
    """The newest campaigns, the last first."""
    return [_of(row) for row in connection.execute(_CAMPAIGNS.order_by(_C.id.desc()).limit(limit))]


def runs_of(connection: Connection, campaign_id: int) -> list[Run]:
    """The runs of a campaign, the newest first."""
    query = select(t.runs).where(t.runs.c.campaign_id == campaign_id).order_by(t.runs.c.due_at.desc())
    return [_run(row) for row in connection.execute(query)]


def add(
    connection: Connection,
    values: Mapping[str, object],
    *,
    by: str,
    now: datetime,
) -> int | None:
    """Keeps a new campaign, as a draft: its number; None where there is one of its name. `values` are those of the table's other columns."""
    row = {**values, "state": CampaignState.DRAFT, "since": now, "said_by": by, "created_at": now, "created_by": by}
    added = insert_new(connection, t.campaigns).returning(_C.id)
    campaign_id: int | None = connection.scalar(added, row)
    return campaign_id


def start(connection: Connection, campaign_id: int, *, next_at: datetime, by: str, now: datetime) -> bool:
    """Has a draft begin its first run at `next_at`; False where it is no draft."""
    return _move(connection, campaign_id, CampaignState.ACTIVE, CampaignState.DRAFT, by=by, now=now, next_at=next_at)


def pause(connection: Connection, campaign_id: int, *, reason: str, by: str, now: datetime) -> bool:
    """Stops an active campaign: from now on nothing of it is claimed. False where it is not active."""
    return _move(connection, campaign_id, CampaignState.PAUSED, by=by, now=now, reason=reason)


def resume(connection: Connection, campaign_id: int, *, by: str, now: datetime) -> bool:
    """Has a paused campaign go on; what is known of its results by now stops it no more. False where it is not paused."""
    if not _move(connection, campaign_id, CampaignState.ACTIVE, CampaignState.PAUSED, by=by, now=now):
        return False
    last = select(func.max(t.messages.c.id)).where(t.messages.c.run_id == t.runs.c.id).scalar_subquery()
    connection.execute(_running(campaign_id).values(seen_message_id=last))
    return True


def cancel(connection: Connection, campaign_id: int, *, reason: str, by: str, now: datetime) -> bool:
    """Calls a campaign off: what was not called yet never is. Calls under way end, and are not made again. False where it is over already."""
    if not _move(connection, campaign_id, CampaignState.CANCELLED, by=by, now=now, reason=reason, next_at=None):
        return False
    ended = _running(campaign_id).values(state=RunState.CANCELLED, ended_at=now, reason=reason).returning(t.runs.c.id)
    for run_id in connection.execute(ended).scalars().all():
        campaign = select(_C.lane, _C.account_id).where(_C.id == campaign_id)
        lane, account_id = connection.execute(campaign).one()
        # Twice: what a probe has split off meanwhile is not there yet for the first, which waits for its row.
        for _ in range(2):
            _call_off(connection, lane, account_id, run_id, now)
    return True


def _call_off(connection: Connection, lane: str, account_id: int, run_id: int, now: datetime) -> None:
    # One statement for what waits, for what is being called and for what is unknown. So whoever moves a row from one to another
    # at the same time has done so before it, or finds the row called off: in each of several, a row might just be in another.
    row = t.submissions.c
    parts = (
        _waiting(lane, account_id, run_id),
        (row.state == literally(State.SUBMITTING), row.caller == caller(run_id)),
        (row.state == literally(State.UNKNOWN), row.caller == caller(run_id)),
    )
    its_rows = union_all(*(select(row.id).where(*part) for part in parts)).cte("its_rows")
    connection.execute(
        update(t.submissions)
        .where(row.id.in_(select(its_rows.c.id)), row.state.in_([*WAITING, State.UNKNOWN]))
        .values(
            called_off=True,
            # What was to be sent again may have been taken the first time.
            state=case((~TO_BE_SENT, row.state), (row.resent, State.UNKNOWN), else_=State.CANCELLED),
            due_at=case((TO_BE_SENT, null()), else_=row.due_at),
            updated_at=case((TO_BE_SENT, now), else_=row.updated_at),
        )
    )


def due(connection: Connection, *, now: datetime) -> list[Campaign]:
    """The active campaigns of which a run is due."""
    query = _CAMPAIGNS.where(_C.state == CampaignState.ACTIVE, _C.next_at <= now).order_by(_C.next_at)
    return [_of(row) for row in connection.execute(query)]


def begin_run(
    connection: Connection,
    campaign: Campaign,
    due_at: datetime,
    *,
    next_at: datetime | None,
    window: Window,
    skip: str | None,
    now: datetime,
) -> int | None:
    """Begins the run of an active campaign that was due at `due_at`; its number, or None where somebody else did, or none began.

    With `skip` it is kept as skipped, with that reason; as it is where the run before it is under way.
    """
    if not _move(
        connection, campaign.id, CampaignState.ACTIVE, CampaignState.ACTIVE, _C.next_at == due_at,
        by=campaign.said_by, now=campaign.since, reason=campaign.reason, next_at=next_at,
    ):  # fmt: skip
        return None
    if (
        skip is None
        and connection.execute(select(exists(_RUNNING.where(t.runs.c.campaign_id == campaign.id)))).scalar()
    ):
        skip = "the run before it was still under way"
    first = campaign.first_share is not None
    row = {
        "campaign_id": campaign.id,
        "due_at": due_at,
        "state": RunState.SKIPPED if skip else RunState.RUNNING,
        "reason": skip,
        "stage": Stage.FIRST if first else Stage.REST,
        "line": 0,
        "made": 0,
        "refused": 0,
        "opens_at": window.opens,
        "closes_at": window.closes,
        "started_at": now,
        "ended_at": now if skip else None,
    }
    run_id: int = connection.execute(insert(t.runs).returning(t.runs.c.id), row).scalar_one()
    if skip:
        finish_campaign(connection, campaign.id, now=now)
    return None if skip else run_id


def running(connection: Connection, *, now: datetime) -> list[tuple[int, str]]:
    """The runs that active campaigns have under way, in their windows or past them: number and lane."""
    query = (
        select(t.runs.c.id, _C.lane)
        .join(t.campaigns, _C.id == t.runs.c.campaign_id)
        .where(
            t.runs.c.state == literally(RunState.RUNNING), _C.state == CampaignState.ACTIVE, t.runs.c.opens_at <= now
        )
        .order_by(t.runs.c.id)
    )
    return [(campaign_id, lane) for campaign_id, lane in connection.execute(query)]


def under_way(connection: Connection, run_id: int) -> tuple[Campaign, Run] | None:
    """The run of that number and its campaign; None where it is not running, or its campaign not active."""
    row = connection.execute(select(t.runs).where(t.runs.c.id == run_id, t.runs.c.state == RunState.RUNNING)).first()
    campaign = None if row is None else get(connection, row.campaign_id)
    return (campaign, _run(row)) if campaign and campaign.state is CampaignState.ACTIVE else None


def waiting(connection: Connection, campaign: Campaign, run: Run, *, most: int) -> int:
    """How many of the run's submissions wait to be called, counted up to `most`."""
    some = select(t.submissions.c.id).where(*_waiting(campaign.lane, campaign.account_id, run.id)).limit(most)
    return connection.scalar(select(func.count()).select_from(some.subquery())) or 0


def advance(connection: Connection, run: Run, *, line: int, made: int, refused: int) -> bool:
    """Notes that the run has gone through the audience up to `line`; False where it has moved on, or must not any more."""
    active = exists().where(_C.id == run.campaign_id, _C.state == CampaignState.ACTIVE)
    here = (
        t.runs.c.id == run.id,
        t.runs.c.state == RunState.RUNNING,
        t.runs.c.stage == run.stage,
        t.runs.c.line == run.line,
    )
    moved = update(t.runs).where(*here, active)
    values = {"line": line, "made": t.runs.c.made + made, "refused": t.runs.c.refused + refused}
    return connection.execute(moved.values(values)).rowcount > 0


def open_again(connection: Connection, run: Run, window: Window) -> bool:
    """Gives the run its next window."""
    this = t.runs.c.id == run.id, t.runs.c.state == RunState.RUNNING, t.runs.c.closes_at == run.closes_at
    return (
        connection.execute(update(t.runs).where(*this).values(opens_at=window.opens, closes_at=window.closes)).rowcount
        > 0
    )


def end_first_stage(connection: Connection, run: Run, *, reason: str, now: datetime) -> bool:
    """The first share is out: the campaign pauses and asks, and the run is at the beginning of the rest."""
    this = t.runs.c.id == run.id, t.runs.c.state == RunState.RUNNING, t.runs.c.stage == Stage.FIRST
    if not connection.execute(update(t.runs).where(*this).values(stage=Stage.REST, line=0)).rowcount:
        return False
    return pause(connection, run.campaign_id, reason=reason, by=ITSELF, now=now)


def end(connection: Connection, run: Run, state: RunState, *, reason: str | None = None, now: datetime) -> bool:
    """Ends the run, and with it its campaign if no other run will follow."""
    this = t.runs.c.id == run.id, t.runs.c.state == RunState.RUNNING
    if not connection.execute(update(t.runs).where(*this).values(state=state, reason=reason, ended_at=now)).rowcount:
        return False
    finish_campaign(connection, run.campaign_id, now=now)
    return True


def finish_campaign(connection: Connection, campaign_id: int, *, now: datetime) -> None:
    """Ends an active campaign of which no run is under way and none will come."""
    over = _C.next_at.is_(None), ~exists(_RUNNING.where(t.runs.c.campaign_id == _C.id))
    _move(connection, campaign_id, CampaignState.DONE, CampaignState.ACTIVE, *over, by=ITSELF, now=now)


def is_any_left(connection: Connection, campaign: Campaign, run: Run) -> bool:
    """Whether something of the run waits to be called or is being called."""
    if waiting(connection, campaign, run, most=1):
        return True
    calling = select(t.submissions.c.id).where(
        t.submissions.c.state == literally(State.SUBMITTING), t.submissions.c.caller == caller(run.id)
    )
    return connection.execute(calling.limit(1)).first() is not None


def look(connection: Connection, run: Run, *, before: datetime, now: datetime) -> bool:
    """Whether whoever asks is the one to look at the results of the run now: nobody has after `before`."""
    due_now = t.runs.c.looked_at.is_(None) | (t.runs.c.looked_at <= before)
    return connection.execute(update(t.runs).where(t.runs.c.id == run.id, due_now).values(looked_at=now)).rowcount > 0


SAMPLE = 10_000
"""So many recipients, spread over all of a run, tell how it goes."""


def results(connection: Connection, run: Run) -> tuple[int, int]:
    """Of the results of the run since a person last saw them: how many are bad, and how many are known.

    Bad is rejected, undelivered and unknown: nobody can say that those have it. Of a long run it looks at every so-manieth message.
    """
    every = max(1, run.made // SAMPLE)
    of_run = t.messages.c.run_id == run.id, t.messages.c.id > (run.seen_message_id or 0), t.messages.c.id % every == 0
    some = t.recipient_status.c.message_id.in_(select(t.messages.c.id).where(*of_run))
    query = select(t.recipient_status.c.status, func.count()).where(some).group_by(t.recipient_status.c.status)
    counts: dict[str, int] = dict(connection.execute(query).all())
    bad = sum(counts.get(status, 0) for status in (State.REJECTED, Report.UNDELIVERED, State.UNKNOWN))
    return bad, bad + counts.get(Report.DELIVERED, 0)


def caller(run_id: int) -> str:
    """Whose the submissions of that run are."""
    return f"{CALLER}{run_id}"


_RUNNING = select(t.runs.c.id).where(t.runs.c.state == literally(RunState.RUNNING))


def _running(campaign_id: int) -> Any:
    return update(t.runs).where(t.runs.c.campaign_id == campaign_id, t.runs.c.state == literally(RunState.RUNNING))


def _waiting(lane: str, account_id: int, run_id: int) -> tuple[ColumnElement[bool], ...]:
    of_queue = (
        t.submissions.c.lane == lane,
        t.submissions.c.account_id == account_id,
        t.submissions.c.caller == caller(run_id),
    )
    return *of_queue, TO_BE_SENT


def _move(
    connection: Connection,
    campaign_id: int,
    state: CampaignState,
    left: CampaignState | None = None,
    *only: ColumnElement[bool],
    by: str,
    now: datetime,
    reason: str | None = None,
    **values: object,
) -> bool:
    """Moves the campaign to the state from the one given, or from any that may: False where it was in none of them."""
    sources = [left] if left else [one for one, onward in CAMPAIGN_TRANSITIONS.items() if state in onward]
    moved = update(t.campaigns).where(_C.id == campaign_id, _C.state.in_(sources), *only)
    said = {"state": state, "since": now, "said_by": by, "reason": reason}
    return connection.execute(moved.values(said | values)).rowcount > 0


def _campaign(connection: Connection, query: Select[Any]) -> Campaign | None:
    row = connection.execute(query).first()
    return None if row is None else _of(row)


def _of(row: Any) -> Campaign:
    values = row._asdict()
    return Campaign(
        **values
        | {
            "header": tuple(json.loads(row.header)),
            "state": CampaignState(row.state),
            "leftover": Leftover(row.leftover),
            "missed": Missed(row.missed),
        }
    )


def _run(row: Any) -> Run:
    return Run(**row._asdict() | {"state": RunState(row.state), "stage": Stage(row.stage)})

"""Campaigns: kept, started, paused, cancelled and ended.

Every change is a conditional UPDATE on the state that it leaves (`domain.campaigns.campaign`). A caller that changes no
row has lost the race, and stops.
"""

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, Update, exists, func, select, update

from worker.domain.campaigns.campaign import (
    CAMPAIGN_TRANSITIONS,
    Campaign,
    CampaignState,
    Leftover,
    Missed,
    RunState,
)
from worker.ledger import tables as t
from worker.ledger.campaigns.run_queue import call_off
from worker.ledger.dialect import inlined, insert_new

ITSELF = "the campaign itself"
"""Stands for the person where a campaign changed its state by itself."""

RUNNING = select(t.runs.c.id).where(t.runs.c.state == inlined(RunState.RUNNING))
"""The runs under way."""

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
        _C.said_by.label("set_by"),
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
    """Returns the campaign of that name, if there is one."""
    return _first(connection, _CAMPAIGNS.where(_C.name == name))


def get(connection: Connection, campaign_id: int) -> Campaign | None:
    """Returns the campaign with that id, if there is one."""
    return _first(connection, _CAMPAIGNS.where(_C.id == campaign_id))


def listed(connection: Connection, *, limit: int) -> list[Campaign]:
    """Returns the newest campaigns, the last first."""
    return [_campaign(row) for row in connection.execute(_CAMPAIGNS.order_by(_C.id.desc()).limit(limit))]


def due(connection: Connection, *, now: datetime) -> list[Campaign]:
    """Returns the active campaigns of which a run is due."""
    query = _CAMPAIGNS.where(_C.state == CampaignState.ACTIVE, _C.next_at <= now).order_by(_C.next_at)
    return [_campaign(row) for row in connection.execute(query)]


def add(connection: Connection, values: Mapping[str, object], *, by: str, now: datetime) -> int | None:
    """Keeps a new campaign as a draft. Returns its id, or None where its name is taken.

    `values` are those of the table's columns that say nothing of its state or of who made it.
    """
    row = {**values, **_set(CampaignState.DRAFT, by, now), "created_at": now, "created_by": by}
    added = insert_new(connection, t.campaigns).returning(_C.id)
    campaign_id: int | None = connection.scalar(added, row)
    return campaign_id


def start(connection: Connection, campaign_id: int, *, next_at: datetime, by: str, now: datetime) -> bool:
    """Makes a draft active: its first run begins at `next_at`. Returns False where it is not a draft."""
    values = {**_set(CampaignState.ACTIVE, by, now), "next_at": next_at}
    return move(connection, campaign_id, values, from_state=CampaignState.DRAFT)


def pause(connection: Connection, campaign_id: int, *, reason: str, by: str, now: datetime) -> bool:
    """Pauses an active campaign: no submission of it is claimed from now on. Returns False where it is not active."""
    return move(connection, campaign_id, _set(CampaignState.PAUSED, by, now, reason))


def resume(connection: Connection, campaign_id: int, *, by: str, now: datetime) -> bool:
    """Makes a paused campaign active again. Returns False where it is not paused.

    The results that are known by now do not pause it again.
    """
    if not move(connection, campaign_id, _set(CampaignState.ACTIVE, by, now), from_state=CampaignState.PAUSED):
        return False
    last = select(func.max(t.messages.c.id)).where(t.messages.c.run_id == t.runs.c.id).scalar_subquery()
    connection.execute(_update_running(campaign_id).values(seen_message_id=last))
    return True


def cancel(connection: Connection, campaign_id: int, *, reason: str, by: str, now: datetime) -> bool:
    """Calls a campaign off: what is not called yet never is. Returns False where the campaign is over already.

    Calls under way end, and are not made again.
    """
    if not move(connection, campaign_id, {**_set(CampaignState.CANCELLED, by, now, reason), "next_at": None}):
        return False
    ended = _update_running(campaign_id).values(state=RunState.CANCELLED, ended_at=now, reason=reason)
    for run_id in connection.execute(ended.returning(t.runs.c.id)).scalars().all():
        call_off(connection, campaign_id, run_id, now=now)
    return True


def finish(connection: Connection, campaign_id: int, *, now: datetime) -> None:
    """Ends an active campaign that has no run under way and none to come."""
    is_over = _C.next_at.is_(None), ~exists(RUNNING.where(t.runs.c.campaign_id == _C.id))
    move(connection, campaign_id, _set(CampaignState.DONE, ITSELF, now), *is_over, from_state=CampaignState.ACTIVE)


def move(
    connection: Connection,
    campaign_id: int,
    values: Mapping[str, object],
    *conditions: ColumnElement[bool],
    from_state: CampaignState | None = None,
) -> bool:
    """Moves the campaign to the state in `values`, from `from_state`, or from any state that leads there.

    Returns False where the campaign is in no such state, or one of the conditions does not hold.
    """
    leading = (state for state, onward in CAMPAIGN_TRANSITIONS.items() if values["state"] in onward)
    sources = [from_state] if from_state else list(leading)
    moved = update(t.campaigns).where(_C.id == campaign_id, _C.state.in_(sources), *conditions)
    return connection.execute(moved.values(values)).rowcount > 0


def _set(state: CampaignState, by: str, now: datetime, reason: str | None = None) -> dict[str, object]:
    return {"state": state, "since": now, "said_by": by, "reason": reason}


def _update_running(campaign_id: int) -> Update:
    return update(t.runs).where(t.runs.c.campaign_id == campaign_id, t.runs.c.state == inlined(RunState.RUNNING))


def _first(connection: Connection, query: Select[Any]) -> Campaign | None:
    row = connection.execute(query).first()
    return None if row is None else _campaign(row)


def _campaign(row: Any) -> Campaign:
    values = {
        "header": tuple(json.loads(row.header)),
        "state": CampaignState(row.state),
        "leftover": Leftover(row.leftover),
        "missed": Missed(row.missed),
    }
    return Campaign(**row._asdict() | values)

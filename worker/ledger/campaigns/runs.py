"""The runs of campaigns: begun at their time, moved through their audience, ended.

Every change is a conditional UPDATE on what it leaves. A caller that changes no row has lost the race, and stops.
"""

from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, exists, func, insert, select, update

from worker.domain.campaigns.campaign import Campaign, CampaignState, Run, RunState, Stage, Window
from worker.domain.status import Report, State
from worker.ledger import tables as t
from worker.ledger.campaigns import campaigns
from worker.ledger.campaigns.campaigns import ITSELF, RUNNING
from worker.ledger.dialect import inlined

SAMPLE = 10_000
"""This many recipients, spread over all of a run, show how it goes."""

_NAMES = {"made": "expanded", "refused": "unrenderable"}
"""Columns that have another name in Python."""
_RUNS = select(*(column.label(_NAMES.get(column.name, column.name)) for column in t.runs.c))


def listed(connection: Connection, campaign_id: int) -> list[Run]:
    """Returns the runs of a campaign, the newest first."""
    query = _RUNS.where(t.runs.c.campaign_id == campaign_id).order_by(t.runs.c.due_at.desc())
    return [_run(row) for row in connection.execute(query)]


def begin(
    connection: Connection,
    campaign: Campaign,
    *,
    next_at: datetime | None,
    window: Window,
    skip: str | None,
    now: datetime,
) -> int | None:
    """Begins the run of an active campaign that is due at its `next_at`. `next_at` here is the time of the run after
    it.

    Returns the run's id, or None where another process has begun it, or where it is skipped. A run is skipped, and kept
    with the reason, where `skip` gives one or the run before it is still under way.
    """
    if not _is_still_due(connection, campaign, next_at):
        return None
    of_campaign = t.runs.c.campaign_id == campaign.id
    if skip is None and connection.execute(select(exists(RUNNING.where(of_campaign)))).scalar():
        skip = "the run before it was still under way"
    run_id: int = connection.execute(
        insert(t.runs).returning(t.runs.c.id), _row(campaign, window, skip, now)
    ).scalar_one()
    if skip:
        campaigns.finish(connection, campaign.id, now=now)
    return None if skip else run_id


def _row(campaign: Campaign, window: Window, skip: str | None, now: datetime) -> dict[str, object]:
    return {
        "campaign_id": campaign.id,
        "due_at": campaign.next_at,
        "state": RunState.SKIPPED if skip else RunState.RUNNING,
        "reason": skip,
        "stage": Stage.REST if campaign.first_share is None else Stage.FIRST,
        "line": 0,
        "made": 0,
        "refused": 0,
        "opens_at": window.opens,
        "closes_at": window.closes,
        "started_at": now,
        "ended_at": now if skip else None,
    }


def _is_still_due(connection: Connection, campaign: Campaign, next_at: datetime | None) -> bool:
    """Moves the campaign on to its next time. Returns False where it is not active, or another process has moved it."""
    due = t.campaigns.c.next_at == campaign.next_at
    return campaigns.move(connection, campaign.id, {"next_at": next_at}, due, from_state=CampaignState.ACTIVE)


def running(connection: Connection, *, now: datetime) -> list[tuple[int, str]]:
    """Returns id and lane of each run that an active campaign has under way, from the beginning of its window on."""
    of_campaign = t.campaigns.c
    query = (
        select(t.runs.c.id, of_campaign.lane)
        .join(t.campaigns, of_campaign.id == t.runs.c.campaign_id)
        .where(
            t.runs.c.state == inlined(RunState.RUNNING),
            of_campaign.state == CampaignState.ACTIVE,
            t.runs.c.opens_at <= now,
        )
        .order_by(t.runs.c.id)
    )
    return [(run_id, lane) for run_id, lane in connection.execute(query)]


def under_way(connection: Connection, run_id: int) -> tuple[Campaign, Run] | None:
    """Returns the run with that id and its campaign; None where the run is not running, or the campaign not active."""
    row = connection.execute(_RUNS.where(t.runs.c.id == run_id, t.runs.c.state == RunState.RUNNING)).first()
    campaign = None if row is None else campaigns.get(connection, row.campaign_id)
    return (campaign, _run(row)) if campaign and campaign.state is CampaignState.ACTIVE else None


def advance(connection: Connection, run: Run, *, line: int, expanded: int, unrenderable: int) -> bool:
    """Notes that the run has gone through the audience up to `line`.

    Returns False where it has moved on, or must not go on.
    """
    row, campaign = t.runs.c, t.campaigns.c
    is_active = exists().where(campaign.id == run.campaign_id, campaign.state == CampaignState.ACTIVE)
    unmoved = row.stage == run.stage, row.line == run.line
    values = {"line": line, "made": row.made + expanded, "refused": row.refused + unrenderable}
    return _change(connection, run, values, *unmoved, is_active)


def reopen(connection: Connection, run: Run, window: Window) -> bool:
    """Gives the run its next window. Returns False where another process has done so."""
    values = {"opens_at": window.opens, "closes_at": window.closes}
    return _change(connection, run, values, t.runs.c.closes_at == run.closes_at)


def end_first_stage(connection: Connection, run: Run, *, reason: str, now: datetime) -> bool:
    """Moves the run from its first share to the beginning of the rest, and pauses its campaign, which asks what to do."""
    values = {"stage": Stage.REST, "line": 0}
    if not _change(connection, run, values, t.runs.c.stage == Stage.FIRST):
        return False
    return campaigns.pause(connection, run.campaign_id, reason=reason, by=ITSELF, now=now)


def end(connection: Connection, run: Run, state: RunState, *, reason: str | None = None, now: datetime) -> bool:
    """Ends the run, and its campaign with it if no other run will follow. Returns False where it is over already."""
    if not _change(connection, run, {"state": state, "reason": reason, "ended_at": now}):
        return False
    campaigns.finish(connection, run.campaign_id, now=now)
    return True


def _change(connection: Connection, run: Run, values: dict[str, Any], *conditions: ColumnElement[bool]) -> bool:
    still = t.runs.c.id == run.id, t.runs.c.state == RunState.RUNNING
    return connection.execute(update(t.runs).where(*still, *conditions).values(values)).rowcount > 0


def claim_check(connection: Connection, run: Run, *, before: datetime, now: datetime) -> bool:
    """Claims the check of the run's results for the caller.

    Returns False where a process has checked them after `before`.
    """
    is_due = t.runs.c.looked_at.is_(None) | (t.runs.c.looked_at <= before)
    return connection.execute(update(t.runs).where(t.runs.c.id == run.id, is_due).values(looked_at=now)).rowcount > 0


def results(connection: Connection, run: Run) -> tuple[int, int]:
    """Returns how many results are bad and how many are known, of those since a person last saw the run's results.

    Bad are rejected, undelivered and unknown: nobody can say that these recipients have the text. Of a long run about
    SAMPLE messages are looked at.
    """
    every = max(1, run.expanded // SAMPLE)
    message = t.messages.c
    sampled = message.run_id == run.id, message.id > (run.seen_message_id or 0), message.id % every == 0
    status = t.recipient_status.c.status
    query = (
        select(status, func.count())
        .where(t.recipient_status.c.message_id.in_(select(message.id).where(*sampled)))
        .group_by(status)
    )
    counts: dict[str, int] = dict(connection.execute(query).all())
    bad = sum(counts.get(bad_one, 0) for bad_one in (State.REJECTED, Report.UNDELIVERED, State.UNKNOWN))
    return bad, bad + counts.get(Report.DELIVERED, 0)


def _run(row: Any) -> Run:
    return Run(**row._asdict() | {"state": RunState(row.state), "stage": Stage(row.stage)})

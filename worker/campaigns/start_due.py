"""Starts what is due: a run of each campaign whose time has come begins, once, however many workers look for it."""

import logging
from collections.abc import Callable
from datetime import datetime
from zoneinfo import ZoneInfo

from sqlalchemy import Engine

from worker.campaigns.cron import next_time
from worker.domain.campaigns.campaign import Campaign, Window, is_missed
from worker.ledger.campaigns import campaigns, runs
from worker.ledger.engine import reading

log = logging.getLogger(__name__)

WindowOf = Callable[[Campaign, datetime], Window | None]
"""Returns the next window of a campaign from that time on."""


def start_due(engine: Engine, *, window: WindowOf, now: datetime) -> None:
    """Begins the runs that are due.

    A run that was missed begins late, or is kept as skipped. Several that were missed count as one.
    """
    with reading(engine) as connection:
        due = campaigns.due(connection, now=now)
    for campaign in due:
        if campaign.next_at is not None:
            _start(engine, campaign, campaign.next_at, window(campaign, now), now)


def _start(engine: Engine, campaign: Campaign, due_at: datetime, window: Window | None, now: datetime) -> None:
    skip = _skip_reason(campaign, due_at, window, now)
    with engine.begin() as connection:
        run_id = runs.begin(
            connection,
            campaign,
            next_at=next_time(campaign.cron, ZoneInfo(campaign.time_zone), now) if campaign.cron else None,
            window=window or Window(now, None),
            skip=skip,
            now=now,
        )
    if run_id is not None:
        log.info("campaign %s: run %d begins", campaign.name, run_id)
    elif skip:
        log.warning("campaign %s: the run of %s is skipped: %s", campaign.name, due_at, skip)


def _skip_reason(campaign: Campaign, due_at: datetime, window: Window | None, now: datetime) -> str | None:
    if is_missed(due_at, now, campaign.missed):
        return "beat or the workers were down, or the campaign was paused, when it was due"
    if window is None:
        return "its hours and those of its lane have no moment in common"
    return None

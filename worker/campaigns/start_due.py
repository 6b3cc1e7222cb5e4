"""Schedule: a run of each campaign that is due begins, once, however many look for it."""

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


def start_due(engine: Engine, *, window: Callable[[Campaign, datetime], Window | None], now: datetime) -> None:
    """Begins the runs that are due. One that was missed begins late, or is kept as skipped; several that were missed are one."""
    with reading(engine) as connection:
        due = campaigns.due(connection, now=now)
    for campaign in due:
        if campaign.next_at is None:
            continue
        opens = window(campaign, now)
        skip = None
        if is_missed(campaign.next_at, now, campaign.missed):
            skip = "nobody was there to start it at its time"
        elif opens is None:
            skip = "its hours and those of its lane have no moment in common"
        with engine.begin() as connection:
            run_id = runs.begin(
                connection,
                campaign,
                next_at=next_time(campaign.cron, ZoneInfo(campaign.time_zone), now) if campaign.cron else None,
                window=opens or Window(now, None),
                skip=skip,
                now=now,
            )
        if run_id is not None:
            log.info("campaign %s: run %d begins", campaign.name, run_id)
        elif skip:
            log.warning("campaign %s: the run of %s is skipped: %s", campaign.name, campaign.next_at, skip)

"""A campaign and its figures, as several commands tell them."""

from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Annotated, Any
from zoneinfo import ZoneInfo

import typer
from sqlalchemy import Connection

from worker.cli.errors import Failed
from worker.domain.campaigns.campaign import Campaign, Run
from worker.domain.campaigns.figures import Figures
from worker.ledger.campaigns import campaigns

RunNo = Annotated[
    int | None, typer.Option("--run", metavar="N", help="Only this run, by the number that `show` tells.")
]


def runs_wanted(connection: Connection, campaign: Campaign, run_id: int | None) -> list[Run]:
    """The runs of the campaign, the newest first, or the one of that number. Raises Failed where it has none of it."""
    runs = campaigns.runs_of(connection, campaign.id)
    wanted = [run for run in runs if run_id in (None, run.id)]
    if run_id is not None and not wanted:
        numbers = ", ".join(str(run.id) for run in runs) or "none yet"
        raise Failed(f"{campaign.name} has no run {run_id}; its runs are: {numbers}")
    return wanted


def as_json(campaign: Campaign, of: Sequence[Run], figures: Figures) -> dict[str, Any]:
    """The campaign with its figures, for programs: `time_left` in seconds."""
    left = figures.time_left
    return {
        **{name: value for name, value in asdict(campaign).items() if name not in _OURS},
        "figures": {
            **asdict(figures),
            **{name: getattr(figures, name) for name in _SUMS},
            "time_left": None if left is None else round(left.total_seconds()),
        },
        "runs": [{name: value for name, value in asdict(run).items() if name not in _OURS} for run in of],
    }


_OURS = frozenset({"account_id", "audience_id", "header", "campaign_id", "looked_at", "seen_message_id"})
_SUMS = ("waiting", "sent", "delivered", "unreported", "failed", "unknown", "left_out")


def local(moment: datetime, campaign: Campaign) -> str:
    """The time where the campaign is, to the minute: `2026-12-01 09:00 CST`."""
    return f"{moment.astimezone(ZoneInfo(campaign.time_zone)):%Y-%m-%d %H:%M %Z}"


def share(part: int, whole: int) -> str:
    """`12.3 %`; nothing of nothing is blank."""
    return f"{part / whole:.1%}" if whole else ""

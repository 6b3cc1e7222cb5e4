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
from worker.domain.campaigns.figures import Figures, Walked
from worker.ledger.campaigns import runs as kept_runs

RunNo = Annotated[
    int | None, typer.Option("--run", metavar="N", help="Only this run, by the number that `show` tells.")
]


def runs_wanted(connection: Connection, campaign: Campaign, run_id: int | None) -> list[Run]:
    """The runs of the campaign, the newest first, or the one of that number. Raises Failed where it has none of it."""
    runs = kept_runs.listed(connection, campaign.id)
    wanted = [run for run in runs if run_id in (None, run.id)]
    if run_id is not None and not wanted:
        numbers = ", ".join(str(run.id) for run in runs) or "none yet"
        raise Failed(f"{campaign.name} has no run {run_id}; its runs are: {numbers}")
    return wanted


def as_json(campaign: Campaign, of: Sequence[Run], figures: Figures) -> dict[str, Any]:
    """The campaign with its figures, for programs: `time_left` in seconds."""
    left = figures.time_left
    return {
        **public_values(campaign),
        "figures": {
            **public_values(figures),
            **{name: getattr(figures, name) for name in _SUMS},
            "time_left": None if left is None else round(left.total_seconds()),
        },
        "runs": [public_values(run) for run in of],
    }


_OURS = frozenset({"account_id", "audience_id", "header", "campaign_id", "looked_at", "seen_message_id"})
_PUBLIC = {"expanded": "made", "unrenderable": "refused", "set_by": "said_by"}
"""The names in JSON, which stay as they are, of fields that have a better one in Python."""
_SUMS = ("waiting", "sent", "delivered", "unreported", "failed", "unknown", "left_out")


def public_values(value: Campaign | Run | Figures | Walked) -> dict[str, Any]:
    """Returns the fields that programs are shown, under the names that they know."""
    return {_PUBLIC.get(name, name): field for name, field in asdict(value).items() if name not in _OURS}


def local(moment: datetime, campaign: Campaign) -> str:
    """The time where the campaign is, to the minute: `2026-12-01 09:00 CST`."""
    return f"{moment.astimezone(ZoneInfo(campaign.time_zone)):%Y-%m-%d %H:%M %Z}"


def share(part: int, whole: int) -> str:
    """`12.3 %`; nothing of nothing is blank."""
    return f"{part / whole:.1%}" if whole else ""

"""Options that several commands of `sms campaign` have, and the campaign and the runs that they name."""

from typing import Annotated

import typer
from sqlalchemy import Connection

from worker.cli.errors import Failed
from worker.domain.campaigns.campaign import Campaign, Run
from worker.ledger.campaigns import campaigns
from worker.ledger.campaigns import runs as ledger_runs

Name = Annotated[str, typer.Argument(metavar="NAME", help="The campaign.", show_default=False)]
RunId = Annotated[
    int | None, typer.Option("--run", metavar="N", help="Only this run, by the number that `show` prints.")
]


def find_campaign(connection: Connection, name: str) -> Campaign:
    """The campaign of that name. Raises Failed where there is none."""
    campaign = campaigns.find(connection, name)
    if campaign is None:
        newest = ", ".join(other.name for other in campaigns.listed(connection, limit=10))
        raise Failed(
            f"there is no campaign {name!r}; the campaigns are: {newest or 'none yet: see `sms campaign create --help`'}"
        )
    return campaign


def find_runs(connection: Connection, name: str, run_id: int | None) -> tuple[Campaign, list[Run]]:
    """The campaign with its runs, the newest first, or only with the run of that number.

    Raises Failed where there is none.
    """
    campaign = find_campaign(connection, name)
    runs = ledger_runs.listed(connection, campaign.id)
    wanted = [run for run in runs if run_id in (None, run.id)]
    if run_id is not None and not wanted:
        ids = ", ".join(str(run.id) for run in runs) or "none yet"
        raise Failed(f"{campaign.name} has no run {run_id}; its runs are: {ids}")
    return campaign, wanted

"""What several commands of `sms campaign` work with."""

from typing import Annotated

import typer
from sqlalchemy import Connection

from worker.cli.errors import Failed
from worker.domain.campaigns.campaign import Campaign
from worker.ledger.campaigns import campaigns

Name = Annotated[str, typer.Argument(metavar="NAME", help="The campaign.", show_default=False)]


def find(connection: Connection, name: str) -> Campaign:
    """The campaign of that name. Raises Failed where there is none."""
    found = campaigns.find(connection, name)
    if found is None:
        names = ", ".join(one.name for one in campaigns.listed(connection, limit=10))
        raise Failed(
            f"there is no campaign {name!r}; the campaigns are: {names or 'none yet: see `sms campaign create --help`'}"
        )
    return found

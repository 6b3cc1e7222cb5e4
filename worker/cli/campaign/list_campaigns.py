"""`sms campaign list`: which campaigns there are, and how far they have come."""

from typing import Any

from worker.cli.campaign.format import local, public_values, share
from worker.cli.options import Limit, ledger
from worker.cli.output import AsJson, clean, console, print_json, shortened, styled, table
from worker.domain.campaigns.campaign import Campaign
from worker.domain.campaigns.figures import Walked
from worker.ledger.campaigns import campaigns, figures

NAME_WIDTH = 26


def list_campaigns(limit: Limit = 20, as_json: AsJson = False) -> None:
    """Lists campaigns, the newest first: where they stand, and how many of their members are recipients by now.

    What has become of those tells `sms campaign show`.

    \b
    Example:
      sms campaign list
      sms campaign list --json
    """
    with ledger() as connection:
        found = campaigns.listed(connection, limit=limit)
        walks = figures.walks(connection, found)
    if as_json:
        print_json([_json(one, walks[one.id]) for one in found])
        return
    listed = table("campaign", "state", "members", "to do", "next", fixed={"state": 9})
    for one in found:
        walk = walks[one.id]
        listed.add_row(
            f"{clean(one.name)}\n{shortened(one.content, NAME_WIDTH)}",
            styled(one.state),
            f"{walk.members:,}\n{shortened(one.audience, NAME_WIDTH)}",
            f"{walk.remaining:,}\n{share(walk.remaining, walk.members)}",
            local(one.next_at, one) if one.next_at else "",
        )
    console().print(listed if found else "no campaign yet: see `sms campaign create --help`")


def _json(campaign: Campaign, walk: Walked) -> dict[str, Any]:
    told = (
        "name",
        "state",
        "since",
        "reason",
        "account",
        "lane",
        "audience",
        "content",
        "next_at",
        "cron",
        "time_zone",
    )
    values = public_values(campaign)
    return {name: values[name] for name in told} | public_values(walk)

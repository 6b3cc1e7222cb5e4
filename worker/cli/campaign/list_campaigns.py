"""`sms campaign list`: the campaigns, and how far each has gone through its audience."""

from worker.cli.campaign.format import local, share
from worker.cli.connections import ledger
from worker.cli.options import Limit
from worker.cli.output import AsJson, clean, console, print_json, shortened, styled, table
from worker.ledger.campaigns import campaigns, figures
from worker.present.campaigns import listed_campaign_json

NAME_WIDTH = 26


def list_campaigns(limit: Limit = 20, as_json: AsJson = False) -> None:
    """Lists campaigns, the newest first: their states, and how many of their members are recipients by now.

    `sms campaign show` shows what became of the recipients.

    \b
    Example:
      sms campaign list
      sms campaign list --json
    """
    with ledger() as connection:
        newest = campaigns.listed(connection, limit=limit)
        walks = figures.walks(connection, newest)
    if as_json:
        print_json([listed_campaign_json(campaign, walks[campaign.id]) for campaign in newest])
        return
    listed = table("campaign", "state", "members", "to do", "next", fixed={"state": 9})
    for campaign in newest:
        walk = walks[campaign.id]
        listed.add_row(
            f"{clean(campaign.name)}\n{shortened(campaign.content, NAME_WIDTH)}",
            styled(campaign.state),
            f"{walk.members:,}\n{shortened(campaign.audience, NAME_WIDTH)}",
            f"{walk.remaining:,}\n{share(walk.remaining, walk.members)}",
            local(campaign.next_at, campaign) if campaign.next_at else "",
        )
    console().print(listed if newest else "no campaign yet: see `sms campaign create --help`")

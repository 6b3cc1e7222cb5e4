"""`sms campaign test`: sends the text of a campaign to a few numbers of your own, before anybody else gets it."""

from typing import Annotated

import typer
from sqlalchemy import Connection

from worker.campaigns.draft import TRIED
from worker.campaigns.template import RowRefused, compile_text
from worker.cli.campaign.options import Name, find_campaign
from worker.cli.connections import client, ledger
from worker.cli.errors import Failed
from worker.cli.options import Lane, split_mobiles
from worker.config import load_settings
from worker.domain.campaigns.campaign import Campaign
from worker.ledger.campaigns import audiences


def test(
    name: Name,
    to: Annotated[str, typer.Option(metavar="M[,M…]", help="Your own mobiles, with commas between them.")],
    line: Annotated[
        int | None,
        typer.Option(help="The line of the audience's file whose text is sent; else the first that makes one."),
    ] = None,
    lane: Annotated[
        Lane | None, typer.Option(help="Another lane than the campaign's: marketing waits at night, notice does not.")
    ] = None,
) -> None:
    """Sends the text of a campaign to a few numbers, as one row of its audience would get it.

    The campaign does not change. Prints the id of the message: `sms show ID` shows what became of it.

    \b
    Example:
      sms campaign test spring --to 13800138000
    """
    settings = load_settings("client", "ledger")
    with ledger(settings) as connection:
        campaign = find_campaign(connection, name)
        content = _text(connection, campaign, line)
    typer.echo(content)
    message_id = client(settings).send(
        split_mobiles([to]),
        content,
        lane=lane.value if lane else campaign.lane,
        account=campaign.account,
        metadata={"campaign": name, "test": True},
    )
    typer.echo(message_id)


def _text(connection: Connection, campaign: Campaign, line: int | None) -> str:
    """The text for the member of that line; without a line, for the first of TRIED members that has one.

    Raises Failed.
    """
    text = compile_text(campaign.content, campaign.header)
    after, most = (0, TRIED) if line is None else (line - 1, 1)
    members = audiences.members_after(connection, campaign.audience_id, after, most=most)
    if line is not None and [member.line for member in members] != [line]:
        raise Failed(f"line {line} of audience {campaign.audience!r} is not a member; `sms audience show` shows some")
    why = "it has no members"
    for member in members:
        try:
            return text.render(member.fields)
        except RowRefused as refusal:
            why = f"line {member.line}: {refusal}"
    raise Failed(f"none of the rows that were tried makes a text; {why}")

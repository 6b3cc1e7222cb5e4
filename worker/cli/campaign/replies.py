"""`sms campaign replies`: what people wrote back to a campaign."""

from collections.abc import Iterator
from dataclasses import fields
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Annotated

import typer

from worker.cli.campaign.options import Name, RunId, find_runs
from worker.cli.connections import ledger
from worker.cli.csv_file import STDOUT, ToSheet, write_sheet
from worker.cli.output import AsJson, as_json, clean, console, styled, table, utc
from worker.config import load_settings
from worker.ledger.campaigns.replies import CampaignReply, find_replies
from worker.present.campaigns import campaign_reply_json

SHOWN = 50


def replies(
    name: Name,
    run: RunId = None,
    csv: ToSheet = None,
    limit: Annotated[
        int | None, typer.Option(min=1, help=f"How many at most; {SHOWN} in a table, all in JSON and CSV.")
    ] = None,
    json: AsJson = False,
) -> None:
    """Lists what people wrote back to a campaign, the newest first, and who opted out with it.

    \b
    Example:
      sms campaign replies spring
      sms campaign replies spring --csv replies.csv
    """
    if json and csv:
        raise typer.BadParameter("--json and --csv say the same in two ways; give one of them")
    report_wait = load_settings("ledger").report_wait
    with ledger() as connection:
        campaign, runs = find_runs(connection, name, run)
        newest = find_replies(connection, campaign, runs, report_wait=report_wait, now=datetime.now(UTC))
        if csv:
            _write(csv, islice(newest, limit))
        elif json:
            _print_json(islice(newest, limit))
        else:
            _print(newest, limit or SHOWN)


def _write(path: Path, received: Iterator[CampaignReply]) -> None:
    rows = ((reply.received_at, reply.mobile, reply.content, reply.message, _optout(reply)) for reply in received)
    write_sheet(path, [field.name for field in fields(CampaignReply)], rows, total=None)
    if path != STDOUT:
        typer.echo(f"{path} has the replies")


def _print(received: Iterator[CampaignReply], limit: int) -> None:
    listed = table("received (UTC)", "from", "reply, and the message it answers", fixed={"from": 11})
    for reply in islice(received, limit):
        listed.add_row(
            utc(reply.received_at).replace(" ", "\n"),
            f"{clean(reply.mobile)}\n{_optout(reply)}",
            styled(f"{clean(reply.content)}\n{reply.message}"),
        )
    screen = console()
    screen.print(listed if listed.row_count else "nobody has replied")
    if next(received, None):
        screen.print("and more: see --limit and --csv")


def _print_json(received: Iterator[CampaignReply]) -> None:
    """One list with a reply on each line, printed as they are read: they may be more than fit into memory."""
    lead = "["
    for reply in received:
        typer.echo(f"{lead}\n  {as_json(campaign_reply_json(reply))}", nl=False)
        lead = ","
    typer.echo("[]" if lead == "[" else "\n]")


def _optout(reply: CampaignReply) -> str:
    return "opt-out" if reply.optout else ""

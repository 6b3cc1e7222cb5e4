"""`sms campaign replies`: what people wrote back to a campaign."""

from collections.abc import Iterator
from dataclasses import asdict, fields
from datetime import UTC, datetime
from itertools import islice
from typing import Annotated

import typer

from worker.cli.campaign.format import RunNo, runs_wanted
from worker.cli.campaign.options import Name, find
from worker.cli.csv_file import STDOUT, ToSheet, write_sheet
from worker.cli.options import ledger
from worker.cli.output import AsJson, as_json, clean, console, styled, table, utc
from worker.config import load_settings
from worker.ledger.campaigns.answers import Answer, answers

SHOWN = 50


def replies(
    name: Name,
    run: RunNo = None,
    csv: ToSheet = None,
    limit: Annotated[
        int | None, typer.Option(min=1, help=f"How many at most; {SHOWN} in a table, all in JSON and CSV.")
    ] = None,
    json: AsJson = False,
) -> None:
    """Lists what people wrote back to a campaign, the newest first, and who of them opted out with it.

    \b
    Example:
      sms campaign replies spring
      sms campaign replies spring --csv replies.csv
    """
    if json and csv:
        raise typer.BadParameter("--json and --csv say the same in two ways; give one of them")
    report_wait = load_settings("ledger").report_wait
    with ledger() as connection:
        campaign = find(connection, name)
        of = runs_wanted(connection, campaign, run)
        now = datetime.now(UTC)
        found = answers(connection, campaign, of, report_wait=report_wait, now=now)
        if csv:
            header = [field.name for field in fields(Answer)]
            rows = (
                (one.received_at, one.mobile, one.content, one.message, _optout(one)) for one in islice(found, limit)
            )
            write_sheet(csv, header, rows, total=None)
            if csv != STDOUT:
                typer.echo(f"{csv} has them")
        elif json:
            _print_json(islice(found, limit))
        else:
            _print(found, limit or SHOWN)


def _print(found: Iterator[Answer], limit: int) -> None:
    listed = table("received (UTC)", "from", "reply, and the message it answers", fixed={"from": 11})
    for one in islice(found, limit):
        listed.add_row(
            utc(one.received_at).replace(" ", "\n"),
            f"{clean(one.mobile)}\n{_optout(one)}",
            styled(f"{clean(one.content)}\n{one.message}"),
        )
    screen = console()
    screen.print(listed if listed.row_count else "nobody has replied")
    if next(found, None):
        screen.print("and more: see --limit and --csv")


def _print_json(found: Iterator[Answer]) -> None:
    """One list, a reply a line, each as it is read: there may be more than are to be kept in mind."""
    lead = "["
    for one in found:
        typer.echo(f"{lead}\n  {as_json(asdict(one))}", nl=False)
        lead = ","
    typer.echo("[]" if lead == "[" else "\n]")


def _optout(one: Answer) -> str:
    return "opt-out" if one.optout else ""

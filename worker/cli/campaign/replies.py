"""`sms campaign replies`: what people wrote back to a campaign."""

from collections.abc import Iterator
from dataclasses import fields
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Annotated

import typer

from worker.cli.campaign.options import Name, RunId, find_runs
from worker.cli.csv_file import STDOUT, ToSheet, write_sheet
from worker.cli.options import ledger
from worker.cli.output import AsJson, as_json, clean, console, styled, table, utc
from worker.config import load_settings
from worker.ledger.campaigns.answers import Answer
from worker.ledger.campaigns.answers import answers as find_answers
from worker.present.campaigns import answer_json

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
        answers = find_answers(connection, campaign, runs, report_wait=report_wait, now=datetime.now(UTC))
        if csv:
            _write(csv, islice(answers, limit))
        elif json:
            _print_json(islice(answers, limit))
        else:
            _print(answers, limit or SHOWN)


def _write(path: Path, answers: Iterator[Answer]) -> None:
    rows = ((answer.received_at, answer.mobile, answer.content, answer.message, _optout(answer)) for answer in answers)
    write_sheet(path, [field.name for field in fields(Answer)], rows, total=None)
    if path != STDOUT:
        typer.echo(f"{path} has the replies")


def _print(answers: Iterator[Answer], limit: int) -> None:
    listed = table("received (UTC)", "from", "reply, and the message it answers", fixed={"from": 11})
    for answer in islice(answers, limit):
        listed.add_row(
            utc(answer.received_at).replace(" ", "\n"),
            f"{clean(answer.mobile)}\n{_optout(answer)}",
            styled(f"{clean(answer.content)}\n{answer.message}"),
        )
    screen = console()
    screen.print(listed if listed.row_count else "nobody has replied")
    if next(answers, None):
        screen.print("and more: see --limit and --csv")


def _print_json(answers: Iterator[Answer]) -> None:
    """One list with a reply on each line, printed as they are read: they may be more than fit into memory."""
    lead = "["
    for answer in answers:
        typer.echo(f"{lead}\n  {as_json(answer_json(answer))}", nl=False)
        lead = ","
    typer.echo("[]" if lead == "[" else "\n]")


def _optout(answer: Answer) -> str:
    return "opt-out" if answer.optout else ""

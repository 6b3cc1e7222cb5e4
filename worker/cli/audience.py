"""`sms audience`: imports the lists of people that campaigns go to, shows and removes them."""

from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from sqlalchemy import Engine

from worker.campaigns.files.table import PeopleTable, open_table
from worker.campaigns.import_audience import free_name, import_audience, remove_audience
from worker.cli.audience_file import NOT_READY, counts_in_words, print_left_out, refusals_file, summarise, watched
from worker.cli.connections import ledger, ledger_engine, operator
from worker.cli.errors import Failed
from worker.cli.options import Column, Sheet
from worker.cli.output import AsJson, clean, console, print_json, progress_bar, shortened, table, utc
from worker.config import load_settings
from worker.domain.campaigns.audience import Audience, Member, RowsLeftOut
from worker.ledger.campaigns import audiences
from worker.present.campaigns import audience_json

FIRST = 5
"""How many members `show` shows."""
SHOWN = 200
"""How many characters of a member's row the table shows; JSON has all of it."""

audience = typer.Typer(add_completion=False, rich_markup_mode=None, no_args_is_help=True)
_Name = Annotated[str, typer.Argument(metavar="NAME", help="The audience, as the list names it.", show_default=False)]


@audience.callback()
def about() -> None:
    """Imports lists of people for campaigns from CSV and Excel files, shows and removes them.

    \b
    Example:
      sms audience import spring customers.xlsx
      sms audience list
    """


@audience.command("import")
def import_file(
    name: Annotated[str, typer.Argument(metavar="NAME", help="What to call it.", show_default=False)],
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A CSV or Excel file.", show_default=False)],
    column: Column = None,
    sheet: Sheet = None,
    refusals: Annotated[
        Path | None, typer.Option(metavar="FILE.csv", help="Where to write the rows left out, and why.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Imports an audience from a CSV file or an Excel workbook (.xlsx) whose first line names the columns.

    Rows with a number that cannot be sent to are left out and listed; of repeats the first counts. The other columns
    are kept, so that the text of a campaign can name them. If the import fails, nothing stays; if it is
    killed, the next import of that name replaces what is there.

    \b
    Example:
      sms audience import spring customers.xlsx --refusals refused.csv
      sms audience import spring customers.csv --column 手机
    """
    if refusals and refusals.resolve() == file.resolve():
        raise typer.BadParameter("--refusals would overwrite the file")
    with ledger_engine(load_settings("ledger")) as engine:
        # First, for a name that is taken must not overwrite the refusals of an earlier import.
        free_name(engine, name, clock=_now)
        with open_table(file, column=column, sheet=sheet) as rows, refusals_file(refusals) as write:
            left_out = RowsLeftOut(write)
            good = _import(engine, name, rows, left_out, quiet=as_json)
    summary = {"name": name, "column": rows.column, **summarise(good, left_out)}
    if as_json:
        print_json(summary)
    else:
        typer.echo(f"{counts_in_words(summary)}, by the column {clean(rows.column)}")


def _import(engine: Engine, name: str, rows: PeopleTable, left_out: RowsLeftOut, *, quiet: bool) -> int:
    """Imports the rows with a progress bar, then prints what was left out, also where the import fails.

    Returns how many are good.
    """
    with progress_bar() as progress:
        try:
            shown = replace(rows, rows=watched(rows, progress))
            return import_audience(engine, name, shown, by=operator(), clock=_now, left_out=left_out)
        finally:
            progress.stop()
            if not quiet:
                print_left_out(left_out)


@audience.command("list")
def list_audiences(as_json: AsJson = False) -> None:
    """Lists the audiences, the newest first.

    \b
    Example:
      sms audience list --json
    """
    with ledger() as connection:
        all_audiences = audiences.listed(connection)
    if as_json:
        print_json([audience_json(row) for row in all_audiences])
        return
    listed = table("audience", "people", "columns", "from", "imported (UTC)")
    for row in all_audiences:
        listed.add_row(
            clean(row.name),
            _people(row),
            shortened(", ".join(row.header), SHOWN),
            f"{shortened(row.source, SHOWN)}\nby {clean(row.created_by)}",
            utc(row.created_at).replace(" ", "\n"),
        )
    console().print(listed if all_audiences else "no audience yet: `sms audience import NAME FILE` makes one")


@audience.command("show")
def show_audience(name: _Name, as_json: AsJson = False) -> None:
    """Shows an audience: its columns, how many people it has and how many were left out, and the first of them.

    \b
    Example:
      sms audience show spring
    """
    with ledger() as connection:
        match = audiences.find(connection, name)
        if not match:
            names = ", ".join(row.name for row in audiences.listed(connection))
            raise Failed(f"there is no audience {clean(name)!r}; the audiences are: {clean(names) or 'none yet'}")
        first = audiences.members_after(connection, match.id, 0, most=FIRST)
        campaigns = audiences.used_by(connection, match.id)
    if as_json:
        members: list[dict[str, Any]] = [asdict(member) for member in first]
        print_json({**audience_json(match), "campaigns": campaigns, "first": members})
    else:
        _print(match, campaigns, first)


def _print(match: Audience, campaigns: list[str], first: list[Member]) -> None:
    screen = console()
    source, created_by = clean(match.source), clean(match.created_by)
    screen.print(f"{clean(match.name)}: {_people(match)}", soft_wrap=True)
    screen.print(f"from {source}, {utc(match.created_at)} UTC, by {created_by}", soft_wrap=True)
    screen.print(f"left out: {match.repeats:,} repeats, {match.refused:,} refused")
    screen.print(f"columns: {clean(', '.join(match.header))}; mobiles in {clean(match.mobile_column)}", soft_wrap=True)
    screen.print(f"campaigns: {clean(', '.join(campaigns)) or 'none'}", soft_wrap=True)
    listed = table("line", "mobile", "what the row has", fixed={"mobile": 11})
    for member in first:
        listed.add_row(str(member.line), member.mobile, shortened(", ".join(member.fields), SHOWN))
    if first:
        screen.print(f"the first {len(first)}:")
        screen.print(listed)


@audience.command("remove")
def remove(name: _Name) -> None:
    """Removes an audience that no campaign uses.

    \b
    Example:
      sms audience remove spring
    """
    with ledger_engine(load_settings("ledger")) as engine:
        remove_audience(engine, name, clock=_now)
    typer.echo(f"{clean(name)} is removed")


def _now() -> datetime:
    return datetime.now(UTC)


def _people(audience: Audience) -> str:
    return f"{audience.good:,}" if audience.ready else NOT_READY

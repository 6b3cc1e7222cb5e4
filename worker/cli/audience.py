"""`sms audience`: the lists of people that campaigns go to: imported from files, looked at, removed."""

from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from worker.campaigns.files.table import open_table
from worker.campaigns.import_audience import import_audience, make_room, remove_audience
from worker.cli.audience_file import print_left_out, refusals_file, summary, watched
from worker.cli.errors import Failed
from worker.cli.options import ledger, ledger_engine, operator
from worker.cli.output import AsJson, clean, console, print_json, progress_bar, shortened, table, utc
from worker.config import load_settings
from worker.domain.campaigns.audience import Audience, RowsLeftOut
from worker.ledger.campaigns import audiences

FIRST = 5
"""Members that `show` shows."""
SHOWN = 200
"""Characters of a member's row that the table shows; JSON has it whole."""

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
    column: Annotated[str | None, typer.Option(help="The column that has the mobiles, if it is not found.")] = None,
    sheet: Annotated[str | None, typer.Option(help="The sheet of a workbook, if it is not the first.")] = None,
    refusals: Annotated[
        Path | None, typer.Option(metavar="FILE.csv", help="Where to write the rows left out, and why.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Imports an audience from a CSV file or an Excel workbook (.xlsx) whose first line names the columns.

    Rows with a number that cannot be sent to are left out and told; of repeats the first is taken. The other columns are kept, for
    the text of a campaign to name. If it breaks off, nothing stays.

    \b
    Example:
      sms audience import spring customers.xlsx --refusals refused.csv
      sms audience import spring customers.csv --column 手机
    """
    if refusals and refusals.resolve() == file.resolve():
        raise typer.BadParameter("--refusals would overwrite the file")
    with ledger_engine(load_settings("ledger")) as engine:
        # Before what was refused of the import before is overwritten.
        make_room(engine, name, clock=_now)
        with (
            open_table(file, column=column, sheet=sheet) as rows,
            refusals_file(refusals) as tell,
            progress_bar() as progress,
        ):
            left_out = RowsLeftOut(tell)
            try:
                good = import_audience(
                    engine,
                    name,
                    replace(rows, rows=watched(rows, progress)),
                    by=operator(),
                    clock=_now,
                    left_out=left_out,
                )
            finally:
                progress.stop()
                if not as_json:
                    print_left_out(left_out)
    told = {"name": name, "column": rows.column, **summary(good, left_out)}
    if as_json:
        print_json(told)
    else:
        counts = "{good:,} good numbers, {repeats:,} repeats, {refused:,} refused".format(**told)
        typer.echo(f"{counts}, by the column {clean(rows.column)}")


@audience.command("list")
def list_audiences(as_json: AsJson = False) -> None:
    """Lists the audiences, the newest first.

    \b
    Example:
      sms audience list --json
    """
    with ledger() as connection:
        found = audiences.listed(connection)
    if as_json:
        print_json([_told(one) for one in found])
        return
    listed = table("audience", "people", "columns", "from", "imported (UTC)")
    for one in found:
        listed.add_row(
            clean(one.name),
            _people(one),
            shortened(", ".join(one.header), SHOWN),
            f"{shortened(one.source, SHOWN)}\nby {clean(one.created_by)}",
            utc(one.created_at).replace(" ", "\n"),
        )
    console().print(listed if found else "no audience yet: `sms audience import NAME FILE` makes one")


@audience.command("show")
def show_audience(name: _Name, as_json: AsJson = False) -> None:
    """Shows an audience: its columns, how many are in it and were left out, and the first of its people.

    \b
    Example:
      sms audience show spring
    """
    with ledger() as connection:
        found = audiences.find(connection, name)
        if not found:
            names = ", ".join(one.name for one in audiences.listed(connection))
            raise Failed(f"there is no audience {clean(name)!r}; the audiences are: {clean(names) or 'none yet'}")
        first = audiences.members_after(connection, found.id, 0, most=FIRST)
        campaigns = audiences.used_by(connection, found.id)
    if as_json:
        print_json({**_told(found), "campaigns": campaigns, "first": [asdict(one) for one in first]})
        return
    screen = console()
    screen.print(f"{clean(found.name)}: {_people(found)}", soft_wrap=True)
    screen.print(
        f"from {clean(found.source)}, {utc(found.created_at)} UTC, by {clean(found.created_by)}", soft_wrap=True
    )
    screen.print(f"left out: {found.repeats:,} repeats, {found.refused:,} refused")
    screen.print(f"columns: {clean(', '.join(found.header))}; mobiles in {clean(found.mobile_column)}", soft_wrap=True)
    screen.print(f"campaigns: {clean(', '.join(campaigns)) or 'none'}", soft_wrap=True)
    listed = table("line", "mobile", "what the row has", fixed={"mobile": 11})
    for one in first:
        listed.add_row(str(one.line), one.mobile, shortened(", ".join(one.fields), SHOWN))
    screen.print(listed)


@audience.command("remove")
def remove(name: _Name) -> None:
    """Removes an audience that no campaign is of.

    \b
    Example:
      sms audience remove spring
    """
    with ledger_engine(load_settings("ledger")) as engine:
        remove_audience(engine, name, clock=_now)
    typer.echo(f"{clean(name)} is removed")


def _now() -> datetime:
    return datetime.now(UTC)


def _people(one: Audience) -> str:
    return f"{one.good:,}" if one.ready else "not whole: being imported or removed, or that broke off"


def _told(one: Audience) -> dict[str, Any]:
    return {name: value for name, value in asdict(one).items() if name != "id"}

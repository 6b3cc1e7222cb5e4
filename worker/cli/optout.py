"""`sms optout`: who wants no marketing, and who is put on that list and taken off it by hand."""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, astuple, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer
from sqlalchemy import Engine

from worker.cli.audience_file import print_left_out
from worker.cli.csv_file import STDOUT, write_sheet
from worker.cli.errors import Failed
from worker.cli.options import Limit, Since, ledger, ledger_engine, operator
from worker.cli.output import AsJson, clean, console, print_json, progress_bar, shortened, table, utc
from worker.cli.send_file import read_file
from worker.config import load_settings
from worker.domain.mobile import NotAMobile, normalise
from worker.ledger.dialect import chunks
from worker.ledger.engine import reading
from worker.ledger.inbound import push_queries
from worker.ledger.sending import accounts, optouts
from worker.ledger.sending.optouts import OptOut, Undone

SHOWN = 60
"""Characters of a reason that a table shows; JSON has it whole."""
PART = 5000
"""Mobiles that an import adds at a time: SQLite has one writer, and the workers are to have their turns."""


def _number(text: str) -> str:
    try:
        return normalise(text)
    except NotAMobile as why:
        raise typer.BadParameter(f"{text!r} {why}") from why


optout = typer.Typer(add_completion=False, rich_markup_mode=None, no_args_is_help=True)
_Mobiles = Annotated[
    list[str], typer.Argument(metavar="MOBILE...", help="Mobiles, in any usual writing.", show_default=False)
]
_Account = Annotated[str, typer.Option(help="The account whose marketing it is about.")]
_OnlyAccount = Annotated[str | None, typer.Option(help="Only of this account.")]


@optout.callback()
def about() -> None:
    """Shows who wants no marketing, puts mobiles on that list and takes them off it.

    Who replies TD, T, 退订 or the like (SMS_OPTOUT_WORDS) is put on it by that. Codes and notices go to them all the same.

    \b
    Example:
      sms optout list --since 1d
      sms optout add 13800138000 --reason "asked for it on the phone"
    """


@optout.command("list")
def list_optouts(
    account: _OnlyAccount = None,
    mobile: Annotated[
        str | None, typer.Option(parser=_number, metavar="MOBILE", help="Only this one, in any usual writing.")
    ] = None,
    since: Since = None,
    limit: Limit = 20,
    as_json: AsJson = False,
) -> None:
    """Lists who opted out, the newest first, with who said so and in what words.

    \b
    Example:
      sms optout list --mobile 13800138000
      sms optout list --since 7d --json
    """
    with ledger() as connection:
        found = optouts.newest(connection, limit=limit, account=account, mobile=mobile, since=since)
        if as_json:
            print_json([asdict(one) for one in found])
            return
        count = optouts.count(connection, account=account, mobile=mobile, since=since)
    listed = table("mobile", "since (UTC)", "account", "by", "push", "in what words", fixed={"mobile": 11})
    for one in found:
        listed.add_row(
            one.mobile, utc(one.since).replace(" ", "\n"), clean(one.account), clean(one.said_by),
            str(one.push_id or ""), shortened(one.why, SHOWN),
        )  # fmt: skip
    screen = console()
    screen.print(listed if found else "no such opt-out")
    if count > len(found):
        screen.print(f"and {count - len(found):,} more: see --limit, and `sms optout export`")


@optout.command("add")
def add(
    mobiles: _Mobiles,
    reason: Annotated[str, typer.Option(help="Why, for those who see it in the list.", show_default=False)],
    account: _Account = "default",
) -> None:
    """Takes mobiles off marketing. What waits is not sent to them; what is being sent this moment is.

    \b
    Example:
      sms optout add 13800138000 13900139000 --reason "asked for it on the phone"
    """
    wanted = _numbers(mobiles)
    with ledger_engine(load_settings("ledger")) as engine:
        new = _add(engine, _account_id(engine, account), wanted, reason)
    typer.echo(_told(new, len(wanted), account))


@optout.command("remove")
def remove(mobiles: _Mobiles, account: _Account = "default") -> None:
    """Puts mobiles back on marketing, because they asked for it. What they were left out of is not sent after all.

    \b
    Example:
      sms optout remove 13800138000
    """
    wanted = _numbers(mobiles)
    with ledger_engine(load_settings("ledger")) as engine:
        account_id = _account_id(engine, account)
        with engine.begin() as connection:
            there = optouts.opted_out(connection, account_id, wanted)
            if nobody := [mobile for mobile in wanted if mobile not in there]:
                raise Failed(f"{', '.join(nobody)} did not opt out of {clean(account)}; nothing was changed")
            optouts.remove(connection, account_id, wanted)
    typer.echo(f"{len(wanted):,} back on the marketing of {clean(account)}")


@optout.command("undo")
def undo(
    pushes: Annotated[
        list[int],
        typer.Option(
            "--push", min=1, max=2**63 - 1, metavar="NO", help="A push, as `sms pushes` numbers it; may be repeated.",
            show_default=False,
        ),
    ],
) -> None:  # fmt: skip
    """Puts back on marketing who opted out by those pushes, such as forged ones, and neither said so later nor had a person say so.

    \b
    Example:
      sms optout list --since 1h
      sms optout undo --push 17 --push 18
    """
    settings = load_settings("ledger")
    with ledger_engine(settings) as engine, engine.begin() as connection:
        missing = [str(push_id) for push_id in pushes if push_queries.find(connection, push_id) is None]
        if missing:
            raise Failed(f"there is no push {', '.join(missing)}; nothing was changed; `sms pushes` lists them")
        undone = optouts.undo(connection, pushes, settings.optout_words, now=datetime.now(UTC))
    typer.echo(told(undone))


def told(undone: Undone) -> str:
    """What became of the opt-outs of a push."""
    kept = f"; {undone.kept:,} said the same later, and stay off it" if undone.kept else ""
    return f"{undone.back:,} back on marketing{kept}"


@optout.command("import")
def import_file(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A CSV or Excel file.", show_default=False)],
    account: _Account = "default",
    column: Annotated[str | None, typer.Option(help="The column that has the mobiles, if it is not found.")] = None,
    reason: Annotated[
        str | None, typer.Option(help="Why, for those who see it in the list; unless given, the name of the file.")
    ] = None,
) -> None:
    """Takes the mobiles in a file off marketing. Its first line must name the columns. What is no mobile is left out and told.

    Should it break off, do it again: who is on the list already stays as he is.

    \b
    Example:
      sms optout import optouts.csv --reason "from the old system"
    """
    with ledger_engine(load_settings("ledger")) as engine:
        account_id = _account_id(engine, account)
        found = read_file(file, column=column)
        print_left_out(found.left_out)
        if not found.mobiles:
            raise Failed(f"{file} has no mobile in column {clean(found.column)!r}; nothing was added")
        new = 0
        with progress_bar() as progress:
            adding = progress.add_task("adding", total=len(found.mobiles))
            for part in chunks(found.mobiles, PART):
                new += _add(engine, account_id, part, reason or f"from {file.name}")
                progress.advance(adding, len(part))
    typer.echo(_told(new, len(found.mobiles), account))


@optout.command("export")
def export(
    account: _OnlyAccount = None,
    csv_file: Annotated[Path, typer.Option("--csv", metavar="FILE|-", help="Where to; - is stdout.")] = STDOUT,
) -> None:
    """Writes all opt-outs as CSV, by account and mobile, however many there are.

    \b
    Example:
      sms optout export --csv optouts.csv
      sms optout export --account default | wc -l
    """
    with ledger() as connection:
        count = optouts.count(connection, account=account)
        rows = map(astuple, optouts.every(connection, account=account))
        write_sheet(csv_file, [field.name for field in fields(OptOut)], rows, total=count)


def _numbers(written: Iterable[str]) -> list[str]:
    mobiles: dict[str, None] = {}
    faults = []
    for text in written:
        try:
            mobiles[normalise(text)] = None
        except NotAMobile as why:
            faults.append(f"{clean(text)!r} {why}")
    if faults:
        raise Failed(f"{'; '.join(faults)}; nothing was changed")
    return list(mobiles)


def _account_id(engine: Engine, name: str) -> int:
    with reading(engine) as connection:
        numbers = accounts.numbers(connection)
    if name not in numbers:
        raise Failed(
            f"there is no account {clean(name)!r}; the accounts are: {clean(', '.join(sorted(numbers))) or 'none yet'}"
        )
    return numbers[name]


def _add(engine: Engine, account_id: int, mobiles: Sequence[str], reason: str) -> int:
    """How many of them had not opted out before."""
    with engine.begin() as connection:
        there = optouts.opted_out(connection, account_id, mobiles)
        said = ((mobile, reason, None) for mobile in mobiles)
        optouts.add(connection, account_id, said, since=datetime.now(UTC), said_by=operator())
    return len(mobiles) - len(there)


def _told(new: int, of: int, account: str) -> str:
    before = f"; {of - new:,} had opted out before" if of > new else ""
    return f"{new:,} taken off the marketing of {clean(account)}{before}"

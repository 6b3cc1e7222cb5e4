"""`sms optout`: lists the people who want no marketing, adds mobiles to that list and removes them from it."""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, astuple, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer
from sqlalchemy import Engine

from worker.cli.audience_file import print_left_out
from worker.cli.connections import ledger, ledger_engine, operator
from worker.cli.csv_file import STDOUT, write_sheet
from worker.cli.errors import Failed
from worker.cli.options import Column, Limit, OnlyAccount, Since
from worker.cli.output import AsJson, clean, console, plural, print_json, progress, shortened, table, utc
from worker.cli.send_file import read_file
from worker.config import load_settings
from worker.domain.mobile import NotAMobile, normalise
from worker.ledger.dialect import chunks
from worker.ledger.engine import reading
from worker.ledger.inbound import push_queries
from worker.ledger.sending import accounts, optouts
from worker.ledger.sending.optouts import OptOut, Undone

SHOWN = 60
"""How many characters of a reason the table shows; JSON has all of it."""
PART = 5000
"""How many mobiles an import adds at a time: SQLite has one writer, and the workers need it too."""


def _number(text: str) -> str:
    try:
        return normalise(text)
    except NotAMobile as error:
        raise typer.BadParameter(f"{text!r} {error}") from error


optout = typer.Typer(add_completion=False, rich_markup_mode=None, no_args_is_help=True)
_Mobiles = Annotated[
    list[str], typer.Argument(metavar="MOBILE...", help="Mobiles, in any usual writing.", show_default=False)
]
_Account = Annotated[str, typer.Option(help="The account whose list it is.")]


@optout.callback()
def about() -> None:
    """Lists the people who want no marketing, adds mobiles to that list and removes them from it.

    Replying TD, T, 退订 or the like (SMS_OPTOUT_WORDS) adds the sender to the list. Codes and notices still go to them.

    \b
    Example:
      sms optout list --since 1d
      sms optout add 13800138000 --reason "asked for it on the phone"
    """


@optout.command("list")
def list_optouts(
    account: OnlyAccount = None,
    mobile: Annotated[
        str | None, typer.Option(parser=_number, metavar="MOBILE", help="Only this mobile, in any usual writing.")
    ] = None,
    since: Since = None,
    limit: Limit = 20,
    as_json: AsJson = False,
) -> None:
    """Lists the people who opted out, the newest first, with who said so and in which words.

    \b
    Example:
      sms optout list --mobile 13800138000
      sms optout list --since 7d --json
    """
    with ledger() as connection:
        newest = optouts.newest(connection, limit=limit, account=account, mobile=mobile, since=since)
        if as_json:
            print_json([asdict(optout) for optout in newest])
            return
        count = optouts.count(connection, account=account, mobile=mobile, since=since)
    listed = table("mobile", "since (UTC)", "account", "by", "push", "in which words", fixed={"mobile": 11})
    for optout in newest:
        listed.add_row(
            optout.mobile, utc(optout.since).replace(" ", "\n"), clean(optout.account), clean(optout.said_by),
            str(optout.push_id or ""), shortened(optout.why, SHOWN),
        )  # fmt: skip
    screen = console()
    screen.print(listed if newest else "no opt-outs")
    if count > len(newest):
        screen.print(f"and {count - len(newest):,} more: see --limit, and `sms optout export`")


@optout.command("add")
def add(
    mobiles: _Mobiles,
    reason: Annotated[str, typer.Option(help="Why, for those who see it in the list.", show_default=False)],
    account: _Account = "default",
) -> None:
    """Adds mobiles to the opt-out list. Waiting marketing is not sent to them; a call that is under way is.

    \b
    Example:
      sms optout add 13800138000 13900139000 --reason "asked for it on the phone"
    """
    wanted = _numbers(mobiles)
    with ledger_engine(load_settings("ledger")) as engine:
        new = _add(engine, _account_id(engine, account), wanted, reason)
    typer.echo(_added_in_words(new, len(wanted), account))


@optout.command("remove")
def remove(mobiles: _Mobiles, account: _Account = "default") -> None:
    """Removes mobiles from the opt-out list, so that they get marketing again.

    Messages that left them out are not sent to them later.

    \b
    Example:
      sms optout remove 13800138000
    """
    wanted = _numbers(mobiles)
    with ledger_engine(load_settings("ledger")) as engine:
        account_id = _account_id(engine, account)
        with engine.begin() as connection:
            opted_out = optouts.opted_out(connection, account_id, wanted)
            if others := [mobile for mobile in wanted if mobile not in opted_out]:
                raise Failed(
                    f"{', '.join(others)} did not opt out of {clean(account)}; nothing was changed;"
                    " `sms optout list --mobile MOBILE` shows who did"
                )
            optouts.remove(connection, account_id, wanted)
    typer.echo(f"{plural(len(wanted), 'mobile')} removed from the opt-out list of {clean(account)}")


@optout.command("undo")
def undo(
    pushes: Annotated[
        list[int],
        typer.Option(
            "--push", min=1, max=2**63 - 1, metavar="ID", help="A push, by its id in `sms pushes`; may be repeated.",
            show_default=False,
        ),
    ],
) -> None:  # fmt: skip
    """Takes back the opt-outs that these pushes brought, such as forged ones.

    A mobile that opted out again later, by a reply or through a person, stays on the list.

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
    typer.echo(undone_in_words(undone))


def undone_in_words(undone: Undone) -> str:
    """What became of the opt-outs of a push."""
    kept = f"; {plural(undone.kept, 'mobile')} opted out again later and stayed on it" if undone.kept else ""
    return f"{plural(undone.back, 'mobile')} removed from the opt-out list{kept}"


@optout.command("import")
def import_file(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A CSV or Excel file.", show_default=False)],
    account: _Account = "default",
    column: Column = None,
    reason: Annotated[
        str | None, typer.Option(help="Why, for those who see it in the list; by default the name of the file.")
    ] = None,
) -> None:
    """Adds the mobiles in a file to the opt-out list.

    Its first line must name the columns. Values that are not mobiles are left out and listed. If it breaks off, repeat
    it: mobiles that are on the list already stay as they are.

    \b
    Example:
      sms optout import optouts.csv --reason "from the old system"
    """
    with ledger_engine(load_settings("ledger")) as engine:
        account_id = _account_id(engine, account)
        recipients = read_file(file, column=column)
        print_left_out(recipients.left_out)
        if not recipients.mobiles:
            raise Failed(f"{file} has no mobile in column {clean(recipients.column)!r}; nothing was added")
        new = 0
        with progress("adding", len(recipients.mobiles)) as advance:
            for part in chunks(recipients.mobiles, PART):
                new += _add(engine, account_id, part, reason or f"from {file.name}")
                advance(len(part))
    typer.echo(_added_in_words(new, len(recipients.mobiles), account))


@optout.command("export")
def export(
    account: OnlyAccount = None,
    csv_file: Annotated[Path, typer.Option("--csv", metavar="FILE|-", help="The file; - is standard output.")] = STDOUT,
) -> None:
    """Writes all opt-outs as CSV, in the order of account and mobile.

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
        except NotAMobile as error:
            faults.append(f"{clean(text)!r} {error}")
    if faults:
        raise Failed(f"{'; '.join(faults)}; nothing was changed")
    return list(mobiles)


def _account_id(engine: Engine, name: str) -> int:
    with reading(engine) as connection:
        ids = accounts.ids(connection)
    if name not in ids:
        raise Failed(
            f"there is no account {clean(name)!r}; the accounts are: {clean(', '.join(sorted(ids))) or 'none yet'}"
        )
    return ids[name]


def _add(engine: Engine, account_id: int, mobiles: Sequence[str], reason: str) -> int:
    """Adds the mobiles. Returns how many of them had not opted out before."""
    with engine.begin() as connection:
        opted_out = optouts.opted_out(connection, account_id, mobiles)
        rows = ((mobile, reason, None) for mobile in mobiles)
        optouts.add(connection, account_id, rows, since=datetime.now(UTC), set_by=operator())
    return len(mobiles) - len(opted_out)


def _added_in_words(new: int, given: int, account: str) -> str:
    before = f"; {given - new:,} had opted out before" if given > new else ""
    return f"{plural(new, 'mobile')} added to the opt-out list of {clean(account)}{before}"

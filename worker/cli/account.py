"""`sms account`: which accounts there are, whether they may send, and closing and opening their gates by hand."""

from collections.abc import Callable
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Annotated

import typer
from sqlalchemy import Connection

from worker.cli.errors import Failed
from worker.cli.options import ledger, ledger_engine, operator
from worker.cli.output import AsJson, clean, console, print_json, styled, table, utc
from worker.config import load_settings
from worker.ledger.sending import gates

account = typer.Typer(add_completion=False, rich_markup_mode=None, no_args_is_help=True)
_Name = Annotated[str, typer.Argument(metavar="NAME", help="The account, as the list names it.", show_default=False)]


@account.callback()
def about() -> None:
    """Shows whether accounts may send, and pauses and resumes them.

    \b
    Example:
      sms account list
      sms account pause default --reason "wrong text in a campaign"
    """


@account.command("list")
def list_accounts(as_json: AsJson = False) -> None:
    """Lists the accounts with their gates: open, or closed by whom, since when and why.

    A gate that the gateway's answers closed is probed by one submission at a time, and opens by itself when one goes through.

    \b
    Example:
      sms account list --json
    """
    with ledger() as connection:
        found = gates.gates(connection)
    if as_json:
        print_json([asdict(one) for one in found])
        return
    listed = table("account", "gate", "since (UTC)", "by", "next probe", "reason", fixed={"gate": 6})
    for one in found:
        listed.add_row(
            clean(one.account), styled("open" if one.is_open else "closed"), utc(one.since).replace(" ", "\n"),
            clean(one.by or ""), utc(one.until).replace(" ", "\n") if one.until else "", clean(one.reason or ""),
        )  # fmt: skip
    console().print(listed if found else "no account yet: a worker that starts makes those of its settings")


@account.command("pause")
def pause(
    name: _Name,
    reason: Annotated[str, typer.Option(help="Why, for those who see it in the list.")] = "paused by hand",
) -> None:
    """Closes the gate of an account until somebody resumes it. Calls under way end; what is not sent yet waits.

    \b
    Example:
      sms account pause default --reason "wrong text in a campaign"
    """
    _change(name, lambda connection, by, now: gates.pause(connection, name, reason=reason, by=by, now=now))
    typer.echo(f"{name} is paused; `sms account resume {name}` opens it again")


@account.command("resume")
def resume(name: _Name) -> None:
    """Opens the gate of an account, whoever closed it. What waits goes out within a minute.

    \b
    Example:
      sms account resume default
    """
    _change(name, lambda connection, by, now: gates.resume(connection, name, by=by, now=now))
    typer.echo(f"{name} may send")


def _change(name: str, change: Callable[[Connection, str, datetime], bool]) -> None:
    with ledger_engine(load_settings("ledger")) as engine, engine.begin() as connection:
        if not change(connection, operator(), datetime.now(UTC)):
            names = ", ".join(one.account for one in gates.gates(connection))
            raise Failed(f"there is no account {clean(name)!r}; the accounts are: {clean(names) or 'none yet'}")

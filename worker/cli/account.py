"""`sms account`: lists the accounts and whether they may send, and closes and opens their gates by hand."""

from collections.abc import Callable
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Annotated

import typer
from sqlalchemy import Connection

from worker.cli.connections import ledger, ledger_engine, operator
from worker.cli.errors import Failed
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
    """Lists the accounts with their gates: open, or closed since when, by whom and why.

    One submission at a time probes a gate that the gateway's answers closed. The gate opens by itself when one goes
    through.

    \b
    Example:
      sms account list --json
    """
    with ledger() as connection:
        all_gates = gates.gates(connection)
    if as_json:
        print_json([asdict(gate) for gate in all_gates])
        return
    listed = table("account", "gate", "since (UTC)", "by", "next probe", "reason", fixed={"gate": 6})
    for gate in all_gates:
        listed.add_row(
            clean(gate.account), styled("open" if gate.is_open else "closed"), utc(gate.since).replace(" ", "\n"),
            clean(gate.by or ""), utc(gate.until).replace(" ", "\n") if gate.until else "", clean(gate.reason or ""),
        )  # fmt: skip
    console().print(listed if all_gates else "no account yet: a worker adds those of its settings when it starts")


@account.command("pause")
def pause(
    name: _Name,
    reason: Annotated[str, typer.Option(help="Why, for those who see it in the list.")] = "paused by hand",
) -> None:
    """Closes the gate of an account until somebody resumes it. Calls under way end; other submissions wait.

    \b
    Example:
      sms account pause default --reason "wrong text in a campaign"
    """
    _change(name, lambda connection, by, now: gates.pause(connection, name, reason=reason, by=by, now=now))
    typer.echo(f"{name} is paused; `sms account resume {name}` opens it again")


@account.command("resume")
def resume(name: _Name) -> None:
    """Opens the gate of an account, whoever closed it. Waiting submissions go out within a minute.

    \b
    Example:
      sms account resume default
    """
    _change(name, lambda connection, by, now: gates.resume(connection, name, by=by, now=now))
    typer.echo(f"{name} may send")


def _change(name: str, change: Callable[[Connection, str, datetime], bool]) -> None:
    with ledger_engine(load_settings("ledger")) as engine, engine.begin() as connection:
        if not change(connection, operator(), datetime.now(UTC)):
            names = ", ".join(gate.account for gate in gates.gates(connection))
            raise Failed(f"there is no account {clean(name)!r}; the accounts are: {clean(names) or 'none yet'}")

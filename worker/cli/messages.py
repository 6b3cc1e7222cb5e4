"""`sms messages`: what was sent, and what was refused."""

from dataclasses import asdict
from enum import StrEnum
from typing import Annotated, Any

import typer
from sqlalchemy import Connection

from worker.cli.options import Lane, Limit, Since, ledger
from worker.cli.output import WIPED, AsJson, clean, console, counted, folded, print_json, shortened, styled, table, utc
from worker.domain.lane import LANES
from worker.domain.status import STATUSES
from worker.ledger.sending import message_queries

# What mypy cannot see is read from the domain: the names are in one place.
Status = StrEnum("Status", {str(status): str(status) for status in STATUSES})  # type: ignore[misc]

ID_WIDTH = 36
FAULTS = 5
"""Of a refused message, in its table."""
SHOWN = 200
"""Columns of a text that a table shows; JSON has it whole."""


def messages(
    lane: Annotated[Lane | None, typer.Option(help="Only of this lane.")] = None,
    account: Annotated[str | None, typer.Option(help="Only of this account.")] = None,
    status: Annotated[
        Status | None, typer.Option(metavar="STATUS", help=f"Only with a recipient who is {', '.join(STATUSES)}.")
    ] = None,
    since: Since = None,
    limit: Limit = 20,
    refused: Annotated[bool, typer.Option("--refused", help="Those that were refused, and why.")] = False,
    as_json: AsJson = False,
) -> None:
    """Lists messages, the newest first, with how many recipients have which status.

    \b
    Example:
      sms messages --status unknown --since 1h
      sms messages --refused
    """
    if refused and (lane or account or status):
        raise typer.BadParameter(
            "--refused goes with --since and --limit alone: what was refused has no lane or status"
        )
    with ledger() as connection:
        if refused:
            _refused(connection, as_json, limit=limit, since=since)
            return
        found = message_queries.newest(connection, limit=limit, lane=lane, account=account, status=status, since=since)
    if as_json:
        print_json([{name: value for name, value in asdict(one).items() if name != "row_id"} for one in found])
        return
    least = {"created (UTC)": len("2026-11-22"), "lane": max(map(len, LANES)), "recipients": max(map(len, STATUSES))}
    listed = table("message", *least, fixed={"message": ID_WIDTH}, least=least)
    for one in found:
        listed.add_row(
            f"{folded(one.id, ID_WIDTH)}\n{shortened(one.content or WIPED, ID_WIDTH)}",
            utc(one.created_at).replace(" ", "\n"),
            f"{one.lane}\n{clean(one.account)}",
            styled(counted(one.counts, "\n")),
        )
    console().print(listed if found else "no such message")


def _refused(connection: Connection, as_json: bool, **narrowed: Any) -> None:
    found = message_queries.newest_refused(connection, **narrowed)
    if as_json:
        print_json([asdict(one) for one in found])
        return
    refused = {"refused (UTC)": len("2026-11-22")}
    listed = table("message", *refused, "why, and what came", fixed={"message": ID_WIDTH}, least=refused)
    for one in found:
        # Whole, for what to do stands at the end of a fault.
        why = [clean(fault) for fault in one.faults[:FAULTS]]
        if len(one.faults) > FAULTS:
            why.append(f"and {len(one.faults) - FAULTS} more: see `sms show`")
        listed.add_row(
            folded(one.id, ID_WIDTH),
            utc(one.refused_at).replace(" ", "\n"),
            "\n".join((*why, shortened(one.payload, SHOWN))),
        )
    console().print(listed if found else "no message was refused")

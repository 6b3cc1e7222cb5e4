"""`sms messages`: the messages that were sent, and those that were refused."""

from collections.abc import Sequence
from enum import StrEnum
from typing import Annotated

import typer

from worker.cli.connections import ledger
from worker.cli.options import Limit, OnlyAccount, OnlyLane, Since
from worker.cli.output import WIPED, AsJson, clean, console, counted, print_json, shortened, styled, table, utc, wrapped
from worker.domain.lane import LANES
from worker.domain.status import STATUSES
from worker.ledger.sending import message_queries
from worker.ledger.sending.message_queries import MessageView, RefusedView
from worker.present.messages import listed_message_json, refused_message_json

# The names come from the domain, so that they are in one place; mypy cannot see them.
Status = StrEnum("Status", {str(status): str(status) for status in STATUSES})  # type: ignore[misc]

ID_WIDTH = 36
DAY_WIDTH = len("2026-11-22")
FAULTS = 5
"""How many faults of a refused message the table shows."""
SHOWN = 200
"""How many columns of a text the table shows; JSON has all of it."""


def messages(  # noqa: PLR0913 - its options are the command's
    lane: OnlyLane = None,
    account: OnlyAccount = None,
    status: Annotated[
        Status | None, typer.Option(metavar="STATUS", help=f"Only with a recipient who is {', '.join(STATUSES)}.")
    ] = None,
    since: Since = None,
    limit: Limit = 20,
    *,
    refused: Annotated[bool, typer.Option("--refused", help="Refused messages, and why they were refused.")] = False,
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
            "--refused goes only with --since and --limit: a refused message has no lane and no status"
        )
    with ledger() as connection:
        if refused:
            _show_refused(message_queries.newest_refused(connection, limit=limit, since=since), as_json)
        else:
            newest = message_queries.newest(
                connection, limit=limit, lane=lane, account=account, status=status, since=since
            )
            _show(newest, as_json)


def _show(messages: Sequence[MessageView], as_json: bool) -> None:
    if as_json:
        print_json([listed_message_json(message) for message in messages])
        return
    least = {"created (UTC)": DAY_WIDTH, "lane": max(map(len, LANES)), "recipients": max(map(len, STATUSES))}
    listed = table("message", *least, fixed={"message": ID_WIDTH}, least=least)
    for message in messages:
        listed.add_row(
            f"{wrapped(message.id, ID_WIDTH)}\n{shortened(message.content or WIPED, ID_WIDTH)}",
            utc(message.created_at).replace(" ", "\n"),
            f"{message.lane}\n{clean(message.account)}",
            styled(counted(message.counts, "\n")),
        )
    console().print(listed if messages else "no messages")


def _show_refused(messages: Sequence[RefusedView], as_json: bool) -> None:
    if as_json:
        print_json([refused_message_json(message) for message in messages])
        return
    least = {"refused (UTC)": DAY_WIDTH}
    listed = table("message", *least, "why, and what came", fixed={"message": ID_WIDTH}, least=least)
    for message in messages:
        # The end of a fault says what to do, so faults are not shortened.
        why = [clean(fault) for fault in message.faults[:FAULTS]]
        if len(message.faults) > FAULTS:
            why.append(f"and {len(message.faults) - FAULTS} more: see `sms show`")
        listed.add_row(
            wrapped(message.id, ID_WIDTH),
            utc(message.refused_at).replace(" ", "\n"),
            "\n".join((*why, shortened(message.payload, SHOWN))),
        )
    console().print(listed if messages else "no message was refused")

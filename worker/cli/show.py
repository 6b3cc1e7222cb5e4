"""`sms show`: one message, wherever it is: in the ledger, among the refused messages, or still in the intake."""

import json
from typing import Annotated, Any

import typer
from redis.exceptions import RedisError
from rich.console import Console
from sqlalchemy import Connection

from worker.cli.connections import known_accounts, ledger, redis_of
from worker.cli.errors import Failed
from worker.cli.output import WIPED, AsJson, clean, console, counted, print_json, styled, table, utc
from worker.config import Settings, load_settings
from worker.domain.message import MAX_RECIPIENTS, is_id
from worker.domain.policy import expires_at
from worker.domain.status import State
from worker.ledger.sending import gates, message_queries
from worker.ledger.sending.message_queries import MessageView
from worker.present.messages import intake_message_json, message_json, refused_message_json
from worker.present.reasons import find_obstacle
from worker.redis_store import intake, intake_parked

SHOWN = 50


def show(
    message_id: Annotated[
        str, typer.Argument(metavar="ID", help="The id that `sms send` printed.", show_default=False)
    ],
    limit: Annotated[
        int | None,
        typer.Option(min=0, max=MAX_RECIPIENTS, help=f"How many recipients at most; {SHOWN} in a table, all in JSON."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Shows what became of a message.

    \b
    Example:
      sms show 01a20346-6bd1-7ef9-9530-deb074fa32cf
      sms show 01a20346-6bd1-7ef9-9530-deb074fa32cf --json
    """
    if not is_id(message_id):
        raise typer.BadParameter(f"{message_id!r} is not an id; it is 1 to 64 letters, digits and _ . : -")
    most = SHOWN if limit is None and not as_json else limit
    message = _find(load_settings("ledger"), message_id, most)
    if as_json:
        print_json(message)
    elif "faults" in message:
        _print_refused(console(), message)
    else:
        _print(console(), message)


def _find(settings: Settings, message_id: str, limit: int | None) -> dict[str, Any]:
    """The message as JSON. Raises Failed where it is nowhere."""
    with ledger(settings) as connection:
        message = (
            _in_ledger(connection, settings, message_id, limit)
            or _in_intake(settings, message_id, limit)
            # A worker may have moved it from the intake to the ledger between the two looks.
            or _in_ledger(connection, settings, message_id, limit)
        )
    if message is None:
        intake_too = "nor in the intake"
        if settings.redis_url is None:
            intake_too = "and the intake was not asked: SMS_REDIS_URL is not set"
        raise Failed(
            f"no message {message_id} is in the ledger, {intake_too}. Check the id with `sms messages`; "
            "a message sent by the name of its task is here once a worker has taken the task."
        )
    return message


def _in_ledger(connection: Connection, settings: Settings, message_id: str, limit: int | None) -> dict[str, Any] | None:
    if view := message_queries.find(connection, message_id):
        waits = view.counts.keys() & {State.HELD, State.QUEUED}
        recipients = message_queries.recipients(connection, view.row_id, limit=limit)
        sent = message_queries.sent_with(connection, view.row_id)
        return message_json(view, sent, recipients, _obstacle(connection, settings, view) if waits else None)
    refused = message_queries.find_refused(connection, [message_id])
    return refused_message_json(refused[0]) if refused else None


def _obstacle(connection: Connection, settings: Settings, view: MessageView) -> str | None:
    [gate] = (gate for gate in gates.gates(connection) if gate.account == view.account)
    return find_obstacle(gate, known_accounts(settings))


def _in_intake(settings: Settings, message_id: str, limit: int | None) -> dict[str, Any] | None:
    if settings.redis_url is None:
        return None
    try:
        with redis_of(settings) as redis:
            message = intake.find(redis, message_id)
            if message is None:
                return None
            parked_until = intake_parked.until(redis, message)
    except RedisError as error:
        raise Failed(
            f"no message {message_id} is in the ledger, and the intake cannot be asked: {str(error).rstrip('.')}. Try again later."
        ) from error
    expiry = expires_at(message, settings.lanes[message.lane])
    return intake_message_json(message, expiry, limit, parked_until)


def _print_refused(screen: Console, message: dict[str, Any]) -> None:
    screen.print(f"message    {clean(message['id'])}")
    screen.print(f"refused    {utc(message['refused_at'])} UTC")
    for fault in message["faults"]:
        screen.print(f"fault      {clean(fault)}")
    screen.print(f"payload    {clean(message['payload'])}")


def _print(screen: Console, message: dict[str, Any]) -> None:
    account, created = clean(message["account"]), utc(message["created_at"])
    screen.print(f"message    {clean(message['id'])}")
    screen.print(f"lane       {message['lane']}, account {account}, created {created} UTC")
    if message["caller"]:
        screen.print(f"caller     {clean(message['caller'])}")
    if message["expires_at"]:
        screen.print(f"valid      until {utc(message['expires_at'])} UTC")
    if message["metadata"] is not None:
        screen.print(f"metadata   {clean(json.dumps(message['metadata'], ensure_ascii=False))}")
    screen.print(f"content    {clean(message['content'] or WIPED)}")
    _print_recipients(screen, message["counts"], message["recipients"])


def _print_recipients(screen: Console, counts: dict[str, int], recipients: list[dict[str, Any]]) -> None:
    total = sum(counts.values())
    screen.print("recipients", f"{total:,}:", styled(counted(counts)))
    listed = table("mobile", "status", "since (UTC)", "msgId", "why", fixed={"mobile": 11, "status": 11})
    for recipient in recipients:
        listed.add_row(
            recipient["mobile"],
            styled(recipient["status"]),
            utc(recipient["updated_at"]).replace(" ", "\n"),
            str(recipient["msg_id"] or ""),
            clean(recipient["reason"] or ""),
        )
    screen.print(listed)
    if total > len(recipients):
        screen.print(f"and {total - len(recipients):,} more: see --limit")

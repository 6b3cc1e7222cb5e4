"""`sms show`: one message, wherever it is: in the ledger, among the refused, or still in the intake."""

import json
from contextlib import closing
from dataclasses import asdict
from datetime import datetime
from typing import Annotated, Any

import typer
from redis.exceptions import RedisError
from sqlalchemy import Connection

from worker.cli.errors import Failed
from worker.cli.options import known_accounts, ledger
from worker.cli.output import WIPED, AsJson, clean, console, counted, print_json, styled, table, utc
from worker.config import Settings, load_settings, revealed
from worker.domain.message import MAX_RECIPIENTS, Message, is_id
from worker.domain.status import State
from worker.ledger.sending import gates, message_queries
from worker.ledger.sending.message_queries import MessageView, SentWith
from worker.present.reasons import in_the_way, reason
from worker.redis_store import intake, intake_parked
from worker.redis_store.connect import open_redis

SHOWN = 50
IN_INTAKE = "intake"
"""The status of what the ledger does not have yet."""


def show(
    message_id: Annotated[str, typer.Argument(metavar="ID", help="The id that `send` gave.", show_default=False)],
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
        raise typer.BadParameter(f"{message_id!r} is no id; it is 1 to 64 letters, digits and _ . : -")
    settings = load_settings("ledger")
    most = SHOWN if limit is None and not as_json else limit
    with ledger(settings) as connection:
        told = _kept(connection, settings, message_id, most)
        if told is None:
            # Not in the intake either: it may have moved to the ledger between the two looks.
            told = _in_intake(settings, message_id, most) or _kept(connection, settings, message_id, most)
    if told is None:
        asked = "nor in the intake" if settings.redis_url else "and the intake was not asked: SMS_REDIS_URL is not set"
        raise Failed(
            f"no message {message_id} is in the ledger, {asked}. Check the id with `sms messages`; "
            "one that was sent by name is here once a worker has taken its task."
        )
    if as_json:
        print_json(told)
    else:
        _print(told)


def _kept(connection: Connection, settings: Settings, message_id: str, limit: int | None) -> dict[str, Any] | None:
    if message := message_queries.find(connection, message_id):
        waits = message.counts.keys() & {State.HELD, State.QUEUED}
        return _as_kept(connection, message, limit, _in_the_way(connection, settings, message) if waits else None)
    refused = message_queries.find_refused(connection, [message_id])
    return asdict(refused[0]) if refused else None


def _in_the_way(connection: Connection, settings: Settings, message: MessageView) -> str | None:
    [gate] = (gate for gate in gates.gates(connection) if gate.account == message.account)
    return in_the_way(gate, known_accounts(settings))


def _as_kept(connection: Connection, message: MessageView, limit: int | None, obstacle: str | None) -> dict[str, Any]:
    recipients = [
        {
            "mobile": one.mobile,
            "status": one.status,
            "reason": reason(one, obstacle),
            "msg_id": one.msg_id,
            "result": one.result,
            "tips": one.tips,
            "updated_at": one.updated_at,
        }
        for one in message_queries.recipients(connection, message.row_id, limit=limit)
    ]
    return _told(message, message_queries.sent_with(connection, message.row_id), message.counts, recipients)


def _told(
    message: MessageView | Message, sent: SentWith, counts: dict[str, int], recipients: list[dict[str, Any]]
) -> dict[str, Any]:
    return {
        "id": message.id,
        "account": message.account,
        "lane": message.lane,
        "content": message.content,
        "created_at": message.created_at,
        **asdict(sent),
        "counts": counts,
        "recipients": recipients,
    }


def _in_intake(settings: Settings, message_id: str, limit: int | None) -> dict[str, Any] | None:
    if settings.redis_url is None:
        return None
    try:
        with closing(open_redis(revealed(settings.redis_url), patience_seconds=5)) as redis:
            message = intake.find(redis, message_id)
            if message is None:
                return None
            parked_until = intake_parked.until(redis, message)
    except RedisError as why:
        raise Failed(
            f"no message {message_id} is in the ledger, and the intake cannot be asked: {str(why).rstrip('.')}. Try again later."
        ) from why
    expires_at = (message.at or message.created_at) + (message.valid_for or settings.lanes[message.lane].validity)
    metadata = None if message.metadata is None else dict(message.metadata)
    return _as_lying(message, SentWith(metadata, message.caller or None, expires_at), limit, parked_until)


def _as_lying(message: Message, sent: SentWith, limit: int | None, parked_until: datetime | None) -> dict[str, Any]:
    lies = f"it lies in the intake since {message.created_at:%Y-%m-%d %H:%M:%S} UTC; "
    if parked_until:
        lies += (
            f"it waits for a worker that has the account {message.account}, and is refused at {utc(parked_until)} UTC"
        )
    else:
        lies += "no worker has taken it yet"
    blank: dict[str, datetime | str | None] = dict.fromkeys(("msg_id", "result", "tips"))
    recipients = [
        {"mobile": mobile, "status": IN_INTAKE, "reason": lies, **blank, "updated_at": message.created_at}
        for mobile in message.to[:limit]
    ]
    return _told(message, sent, {IN_INTAKE: len(message.to)}, recipients)


def _print(told: dict[str, Any]) -> None:
    screen = console()
    screen.print(f"message    {clean(told['id'])}")
    if "faults" in told:
        screen.print(f"refused    {utc(told['refused_at'])} UTC")
        for fault in told["faults"]:
            screen.print(f"fault      {clean(fault)}")
        screen.print(f"payload    {clean(told['payload'])}")
        return
    total = sum(told["counts"].values())
    screen.print(f"lane       {told['lane']}, account {clean(told['account'])}, created {utc(told['created_at'])} UTC")
    if told["caller"]:
        screen.print(f"caller     {clean(told['caller'])}")
    if told["expires_at"]:
        screen.print(f"valid      until {utc(told['expires_at'])} UTC")
    if told["metadata"] is not None:
        screen.print(f"metadata   {clean(json.dumps(told['metadata'], ensure_ascii=False))}")
    screen.print(f"content    {clean(told['content'] or WIPED)}")
    screen.print("recipients", f"{total:,}:", styled(counted(told["counts"])))
    listed = table("mobile", "status", "since (UTC)", "msgId", "why", fixed={"mobile": 11, "status": 11})
    for one in told["recipients"]:
        why = clean(one["reason"] or "")
        listed.add_row(
            one["mobile"],
            styled(one["status"]),
            utc(one["updated_at"]).replace(" ", "\n"),
            str(one["msg_id"] or ""),
            why,
        )
    screen.print(listed)
    if total > len(told["recipients"]):
        screen.print(f"and {total - len(told['recipients']):,} more: see --limit")

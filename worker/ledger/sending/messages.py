"""Messages: each is kept once, under its id. Refused messages are kept apart, with their faults."""

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, insert, select

from worker.domain.message import Message
from worker.domain.status import Suppression
from worker.domain.text import check_of
from worker.ledger import tables as t
from worker.ledger.dialect import add_rows, chunks, insert_new

PAYLOAD = 1_000_000
"""The bytes of a refused payload that are kept. The largest message has fewer."""


def add(
    connection: Connection, new: Sequence[Message], account_ids: Mapping[str, int], *, now: datetime
) -> dict[str, int]:
    """Adds the messages that the ledger does not have yet. Returns the row id of each of those, by message id."""
    rows = [
        (
            message.id,
            account_ids[message.account],
            message.lane,
            message.content,
            None if message.metadata is None else json.dumps(message.metadata),
            message.created_at,
            message.run_id,
        )
        for message in {message.id: message for message in reversed(new)}.values()
    ]
    added = add_rows(
        connection,
        insert_new(connection, t.messages),
        {"accepted_at": now},
        ("public_id", "account_id", "lane", "content", "metadata", "created_at", "run_id"),
        # Sorted, so that two workers with the same messages wait for each other instead of deadlocking.
        sorted(rows),
        returning=(t.messages.c.public_id, t.messages.c.id),
    )
    return {message_id: row_id for message_id, row_id in added}  # noqa: C416 - mypy needs it spelt out


def others(connection: Connection, messages: Sequence[Message]) -> list[Message]:
    """Returns those of the messages whose id the ledger has for another lane, text or recipients.

    The ledger has a message under each of their ids.
    """
    clashing = []
    for chunk in chunks(messages):
        rows = _kept_messages(connection, [message.id for message in chunk])
        mobiles = _kept_mobiles(connection, [row.id for row in rows.values()])
        for message in chunk:
            row = rows[message.id]
            is_wiped = not row.content and row.text_check == check_of(message.content)
            text = message.content if is_wiped else row.content
            if (row.lane, text, mobiles[row.id]) != (message.lane, message.content, set(message.to)):
                clashing.append(message)
    return clashing


def _kept_messages(connection: Connection, ids: Sequence[str]) -> dict[str, Any]:
    query = select(
        t.messages.c.public_id, t.messages.c.id, t.messages.c.lane, t.messages.c.content, t.messages.c.text_check
    )
    return {row.public_id: row for row in connection.execute(query.where(t.messages.c.public_id.in_(ids)))}


def _kept_mobiles(connection: Connection, row_ids: Sequence[int]) -> defaultdict[int, set[str]]:
    mobiles: defaultdict[int, set[str]] = defaultdict(set)
    query = select(t.recipients.c.message_id, t.recipients.c.mobile).where(t.recipients.c.message_id.in_(row_ids))
    for row_id, mobile in connection.execute(query):
        mobiles[row_id].add(mobile)
    return mobiles


_INSERT_SUPPRESSED = insert(t.recipients)


def suppress(connection: Connection, left_out: Sequence[tuple[int, str]], reason: Suppression) -> None:
    """Adds recipients that are in no submission, each as (row id of the message, mobile), with the reason."""
    add_rows(connection, _INSERT_SUPPRESSED, {"suppressed": reason}, ("message_id", "mobile"), left_out)


def refuse(
    connection: Connection, message_id: str, faults: Sequence[str], payload: str | bytes, *, now: datetime
) -> None:
    """Keeps a message that cannot be sent, as it came and with its faults. It is kept once, however often it comes.

    Characters that no text of a database can hold are kept as escapes. What exceeds PAYLOAD is cut off.
    """
    row = {"id": message_id, "faults": json.dumps(faults), "payload": _storable(payload), "refused_at": now}
    connection.execute(insert_new(connection, t.refused), row)


def _storable(payload: str | bytes) -> str:
    raw = payload.encode("utf-8", "surrogatepass") if isinstance(payload, str) else payload
    text = raw[:PAYLOAD].decode("utf-8", "backslashreplace").replace("\0", "\\x00")
    return text if len(raw) <= PAYLOAD else f"{text}… and {len(raw) - PAYLOAD} bytes more"

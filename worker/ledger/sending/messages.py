"""Messages: kept once, under their id; those that were refused are kept apart, with what is wrong with them."""

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import datetime

from sqlalchemy import Connection, insert, select

from worker.domain.message import Message
from worker.domain.status import Suppression
from worker.domain.text import check_of
from worker.ledger import tables as t
from worker.ledger.dialect import add_rows, chunks, insert_new

PAYLOAD = 1_000_000
"""Bytes of a refused payload that are kept: more than the largest message has."""


def add(
    connection: Connection, new: Sequence[Message], account_ids: Mapping[str, int], *, now: datetime
) -> dict[str, int]:
    """Keeps the messages that are not there yet; the number of each of those under its id."""
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
        # Sorted, so that two workers that were handed the same messages wait for each other instead of deadlocking.
        sorted(rows),
        returning=(t.messages.c.public_id, t.messages.c.id),
    )
    return {message_id: row_id for message_id, row_id in added}  # noqa: C416 - mypy needs it spelt out


def others(connection: Connection, some: Sequence[Message]) -> list[Message]:
    """Those of these messages whose id the ledger has for another lane, text or recipients."""
    found = []
    for part in chunks(some):
        texts = select(
            t.messages.c.public_id, t.messages.c.id, t.messages.c.lane, t.messages.c.content, t.messages.c.text_check
        )
        there = {
            row.public_id: row
            for row in connection.execute(texts.where(t.messages.c.public_id.in_([one.id for one in part])))
        }
        mobiles: defaultdict[int, set[str]] = defaultdict(set)
        of = select(t.recipients.c.message_id, t.recipients.c.mobile)
        for row_id, mobile in connection.execute(
            of.where(t.recipients.c.message_id.in_([row.id for row in there.values()]))
        ):
            mobiles[row_id].add(mobile)
        for one in part:
            row = there[one.id]
            is_wiped = not row.content and row.text_check == check_of(one.content)
            text = one.content if is_wiped else row.content
            if (row.lane, text, mobiles[row.id]) != (one.lane, one.content, set(one.to)):
                found.append(one)
    return found


_INSERT_SUPPRESSED = insert(t.recipients)


def suppress(connection: Connection, left_out: Sequence[tuple[int, str]], why: Suppression) -> None:
    """Keeps the recipients, (number of the message, mobile) each, that are in no submission, and why."""
    add_rows(connection, _INSERT_SUPPRESSED, {"suppressed": why}, ("message_id", "mobile"), left_out)


def refuse(
    connection: Connection, message_id: str, faults: Sequence[str], payload: str | bytes, *, now: datetime
) -> None:
    """Keeps a message that cannot be sent, as it came and with what is wrong with it; once, however often it comes.

    What of the payload no text of a database can hold is written as an escape, and what is beyond PAYLOAD left out.
    """
    row = {"id": message_id, "faults": json.dumps(faults), "payload": _storable(payload), "refused_at": now}
    connection.execute(insert_new(connection, t.refused), row)


def _storable(payload: str | bytes) -> str:
    raw = payload.encode("utf-8", "surrogatepass") if isinstance(payload, str) else payload
    text = raw[:PAYLOAD].decode("utf-8", "backslashreplace").replace("\0", "\\x00")
    return text if len(raw) <= PAYLOAD else f"{text}… and {len(raw) - PAYLOAD} bytes more"

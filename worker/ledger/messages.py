"""Messages: kept once, under their id; those that were refused are kept apart, with what is wrong with them."""

import json
from collections.abc import Mapping, Sequence
from datetime import datetime

from sqlalchemy import Connection

from worker.domain.message import Message
from worker.domain.status import Suppression
from worker.ledger.statements import insert_new
from worker.ledger.tables import messages, recipients, refused


def add(
    connection: Connection, new: Sequence[Message], account_ids: Mapping[str, int], *, now: datetime
) -> dict[str, int]:
    """Keeps the messages that are not there yet; the number of each of those under its id."""
    rows = [
        {
            "id": message.id,
            "account_id": account_ids[message.account],
            "lane": message.lane,
            "content": message.content,
            "metadata": None if message.metadata is None else json.dumps(message.metadata),
            "created_at": message.created_at,
            "accepted_at": now,
        }
        for message in {message.id: message for message in reversed(new)}.values()
    ]
    # Sorted, so that two workers that were handed the same messages wait for each other instead of deadlocking.
    rows.sort(key=lambda row: str(row["id"]))
    added = connection.execute(insert_new(connection, messages).returning(messages.c.id, messages.c.no), rows)
    return dict(added.all())


def suppress(connection: Connection, left_out: Sequence[tuple[int, str]], why: Suppression) -> None:
    """Keeps the recipients, (number of the message, mobile) each, that are in no submission, and why."""
    rows = [{"message_no": message_no, "mobile": mobile, "suppressed": why} for message_no, mobile in left_out]
    connection.execute(recipients.insert(), rows)


def refuse(connection: Connection, message_id: str, faults: Sequence[str], payload: str, *, now: datetime) -> None:
    """Keeps a message that cannot be sent, as it came and with what is wrong with it; once, however often it comes."""
    row = {"id": message_id, "faults": json.dumps(faults), "payload": payload, "refused_at": now}
    connection.execute(insert_new(connection, refused), row)

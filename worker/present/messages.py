"""Messages and their recipients as JSON."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Any

from worker.domain.message import Message
from worker.ledger.sending.message_queries import MessageView, RecipientView, RefusedView, SentWith
from worker.present.reasons import parked_reason, reason

IN_INTAKE = "intake"
"""The status of a recipient whose message is not in the ledger yet."""


def listed_message_json(message: MessageView) -> dict[str, Any]:
    """A message of a list, with how many recipients have which status."""
    return _head(message) | {"counts": message.counts}


def message_json(
    view: MessageView, sent: SentWith, recipients: Sequence[RecipientView], obstacle: str | None
) -> dict[str, Any]:
    """A message in full. `obstacle` says why nothing of its account is sent now."""
    return _message(view, sent, view.counts, [recipient_json(row, obstacle) for row in recipients])


def intake_message_json(
    message: Message, expires_at: datetime, limit: int | None, parked_until: datetime | None
) -> dict[str, Any]:
    """A message that no worker has taken yet, in the shape of one in the ledger, with `limit` recipients at most."""
    metadata = None if message.metadata is None else dict(message.metadata)
    sent = SentWith(metadata, message.caller or None, expires_at)
    unsent = dict.fromkeys(("msg_id", "result", "tips"))
    recipients: list[dict[str, Any]] = [
        {
            "mobile": mobile,
            "status": IN_INTAKE,
            "reason": parked_reason(message, parked_until),
            **unsent,
            "updated_at": message.created_at,
        }
        for mobile in message.to[:limit]
    ]
    return _message(message, sent, {IN_INTAKE: len(message.to)}, recipients)


def refused_message_json(refused: RefusedView) -> dict[str, Any]:
    """A message that was refused, as it came, with its faults."""
    return asdict(refused)


def recipient_json(recipient: RecipientView, obstacle: str | None) -> dict[str, Any]:
    """A recipient with its status and the reason for it."""
    return {
        "mobile": recipient.mobile,
        "status": recipient.status,
        "reason": reason(recipient, obstacle),
        "msg_id": recipient.msg_id,
        "result": recipient.result,
        "tips": recipient.tips,
        "updated_at": recipient.updated_at,
    }


def _message(
    message: MessageView | Message, sent: SentWith, counts: Mapping[str, int], recipients: list[dict[str, Any]]
) -> dict[str, Any]:
    return {**_head(message), **asdict(sent), "counts": counts, "recipients": recipients}


def _head(message: MessageView | Message) -> dict[str, Any]:
    return {
        "id": message.id,
        "account": message.account,
        "lane": message.lane,
        "content": message.content,
        "created_at": message.created_at,
    }

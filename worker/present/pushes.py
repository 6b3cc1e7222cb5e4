"""Pushes, and the replies that they brought, as JSON."""

from dataclasses import asdict
from typing import Any

from worker.ledger.inbound.push_queries import PushView, ReplyView


def push_json(view: PushView) -> dict[str, Any]:
    """A push of a list."""
    return asdict(view)


def full_push_json(view: PushView, body: str) -> dict[str, Any]:
    """A push in full."""
    return asdict(view) | {"body": body}


def reply_json(view: ReplyView) -> dict[str, Any]:
    """What somebody wrote back."""
    return asdict(view)

"""Writes a message as JSON for the intake, and reads it back, whoever put it there."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from worker.domain.message import Fault, Message, Refused
from worker.domain.read_message import DEFAULT_ACCOUNT, UNSTORABLE, YEARS, read_message


def to_json(message: Message) -> str:
    """The message as the intake keeps it. `from_json` reads it back unchanged.

    The memory of Redis limits how many messages can wait. So defaults are left out, and Chinese is not escaped.
    """
    fields: dict[str, Any] = {
        "id": message.id,
        "to": message.to,
        "content": message.content,
        "lane": message.lane,
        "created_at": message.created_at.isoformat(),
        "caller": message.caller,
    }
    if message.account != DEFAULT_ACCOUNT:
        fields["account"] = message.account
    if message.at is not None:
        fields["at"] = message.at.isoformat()
    if message.valid_for is not None:
        fields["valid_for"] = message.valid_for.total_seconds()
    if message.metadata is not None:
        fields["metadata"] = message.metadata
    text = json.dumps(fields, ensure_ascii=False, separators=(",", ":"))
    # Half of a surrogate pair must be escaped: a message that will be refused for it may have one.
    return text if UNSTORABLE.search(text) is None else json.dumps(fields, separators=(",", ":"))


_IN_JSON = ("id", "to", "content", "lane", "account", "at", "valid_for", "metadata", "caller")


def from_json(text: str | bytes) -> Message:
    """Reads a message that `to_json` wrote. Anybody can write to Redis, so it is checked like any other message.

    Raises Refused with every fault. It ignores unknown names, because a later version may have written them.
    """
    try:
        fields = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise Refused(
            [Fault("message", f"is not JSON in UTF-8 ({type(error).__name__}); `SmsClient` writes it")]
        ) from error
    if not isinstance(fields, Mapping):
        raise Refused([Fault("message", f"is a {type(fields).__name__} and not a mapping; `SmsClient` writes it")])
    faults: list[Fault] = []
    known = {name: fields.get(name) or None for name in _IN_JSON} | {"metadata": fields.get("metadata")}
    created_at = _read_created_at(fields.get("created_at"))
    if created_at is None:
        faults.append(Fault("created_at", "is not a time with a zone; `SmsClient` writes it"))
        created_at, known["at"] = datetime.fromtimestamp(0, UTC), None
    if known["id"] is None:
        faults.append(Fault("id", "is missing; `SmsClient` writes it"))
    try:
        message = read_message(known, now=created_at, default_id="")
    except Refused as refused:
        faults += refused.faults
    if faults:
        raise Refused(faults)
    return message


def _read_created_at(written: Any) -> datetime | None:
    try:
        at = datetime.fromisoformat(written)
    except (TypeError, ValueError):
        return None
    return None if at.utcoffset() is None or at.year not in YEARS else at

"""A message: what somebody asks us to send. Reading one finds every fault at once, and refuses it whole."""

import json
import re
import uuid
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from worker.domain.lane import LANES
from worker.domain.mobile import NotAMobile, normalise
from worker.domain.text import content_faults

MAX_RECIPIENTS = 10_000
"""Mobiles of one message: keeps its way through Redis short. More is several messages."""
MAX_METADATA_BYTES = 4096
MAX_CALLER = 64
MAX_VALID_FOR = timedelta(days=7)
PAST_GRACE = timedelta(minutes=1)
"""An `at` this little in the past is meant as now: clocks differ, and a task may have waited in its queue."""

_ID = re.compile(r"[0-9A-Za-z][0-9A-Za-z_.:-]{0,63}")
_KEYS = uuid.UUID("6f1d5c0e-6d0a-5c0b-9a53-0a4f5b6c7d8e")


@dataclass(frozen=True, slots=True)
class Message:
    """A text for one or more recipients.

    `to` holds normalised mobiles without repeats, in the order given. `at` and `created_at` are aware times, `valid_for` how
    long after them it may go out, None for as long as its lane has it. `caller` is who sends it: where there is more to send than can
    be, each caller has an equal share.
    """

    id: str
    to: tuple[str, ...]
    content: str
    lane: str
    account: str
    created_at: datetime
    at: datetime | None = None
    valid_for: timedelta | None = None
    metadata: Mapping[str, Any] | None = None
    caller: str = ""
    run_no: int | None = None
    """Of the run of a campaign that makes it, if one does."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that is wrong with a message: the field, as the sender wrote it, and a sentence with the remedy."""

    field: str
    text: str

    def __str__(self) -> str:
        return f"{self.field} {self.text}"


class Refused(ValueError):
    """The message cannot be sent as it is. `faults` lists everything that is wrong with it; nothing was enqueued."""

    SHOWN = 20

    def __init__(self, faults: Sequence[Fault]) -> None:
        self.faults = tuple(faults)
        lines = [str(fault) for fault in self.faults[: self.SHOWN]]
        if len(self.faults) > self.SHOWN:
            lines.append(f"and {len(self.faults) - self.SHOWN} more")
        super().__init__("refused, nothing was enqueued: " + "; ".join(lines))


FIELDS = frozenset({"to", "content", "lane", "account", "key", "at", "valid_for", "notify", "metadata", "id"})


def id_of_key(key: str) -> str:
    """The message id that a `key` stands for: the same key is the same message, whoever sends it and whenever."""
    return str(uuid.uuid5(_KEYS, key))


def new_id(now: datetime, random: bytes) -> str:
    """A fresh id that sorts by time (UUIDv7, RFC 9562), so that the ledger's index grows at its end. `random`: 10 bytes."""
    millis = int(now.timestamp() * 1000).to_bytes(6, "big")
    raw = bytearray(millis + random)
    raw[6] = raw[6] & 0x0F | 0x70
    raw[8] = raw[8] & 0x3F | 0x80
    return str(uuid.UUID(bytes=bytes(raw)))


def is_id(text: str) -> bool:
    """Whether a message can have this id."""
    return _ID.fullmatch(text) is not None


def read_message(
    fields: Any, *, now: datetime, default_id: str, accounts: Collection[str] | None = None, caller: str = ""
) -> Message:
    """The message that `fields` describe (those of `SmsClient.send`, as JSON can carry them).

    `default_id` names it where it has neither `key` nor `id`. `accounts` are the known ones; None where nobody can say.
    Raises Refused with every fault.
    """
    if not isinstance(fields, Mapping):
        raise Refused([Fault("message", f"is no mapping but a {type(fields).__name__}; give to, content and the like")])
    faults: list[Fault] = [
        Fault(str(name), f"is no field of a message; there are {', '.join(sorted(FIELDS))}")
        for name in fields
        if name not in FIELDS
    ]

    def fault(field: str, text: str) -> None:
        faults.append(Fault(field, text))

    to = _read_mobiles(fields.get("to"), fault)
    content = fields.get("content")
    if isinstance(content, str):
        for text in content_faults(content):
            fault("content", text)
    else:
        fault("content", "is missing; give the text as a string")
    lane = fields.get("lane") or "notice"
    if not isinstance(lane, str) or lane not in LANES:
        fault("lane", f"{lane!r} is unknown; it is one of {', '.join(LANES)}")
    account = fields.get("account") or "default"
    if not isinstance(account, str) or (accounts is not None and account not in accounts):
        fault("account", f"{account!r} is unknown; there are {', '.join(sorted(accounts or ()))}")
    at = _read_at(fields.get("at"), now, fault)
    valid_for = _read_valid_for(fields.get("valid_for"), fault)
    if fields.get("notify") is not None:
        fault("notify", "is not there yet: this version tells no events; leave it out and ask `sms show`")
    metadata = _read_metadata(fields.get("metadata"), fault)
    message_id = _read_id(fields, default_id, fault)
    if faults:
        raise Refused(faults)
    return Message(
        id=message_id,
        to=to,
        content=str(content),
        lane=lane,
        account=account,
        created_at=now,
        at=at,
        valid_for=valid_for,
        metadata=metadata,
        caller=caller[:MAX_CALLER],
    )


def _read_mobiles(to: Any, fault: Any) -> tuple[str, ...]:
    if isinstance(to, str):
        to = [to]
    if not isinstance(to, Iterable) or isinstance(to, Mapping | bytes):
        fault("to", "is missing; give one mobile or a list of them")
        return ()
    written = list(to)
    if not written:
        fault("to", "is empty; give at least one mobile")
    if len(written) > MAX_RECIPIENTS:
        fault("to", f"has {len(written)} mobiles, more than the {MAX_RECIPIENTS} of one message; send several messages")
        return ()
    mobiles: dict[str, None] = {}
    for position, text in enumerate(written):
        if not isinstance(text, str):
            fault(f"to[{position}]", f"{text!r} is no string; write the number in quotes")
            continue
        try:
            mobiles[normalise(text)] = None
        except NotAMobile as why:
            fault(f"to[{position}]", f"{text!r} {why}")
    return tuple(mobiles)


def _read_at(at: Any, now: datetime, fault: Any) -> datetime | None:
    if at is None:
        return None
    if isinstance(at, str):
        try:
            at = datetime.fromisoformat(at)
        except ValueError:
            fault("at", f"{at!r} is no time; write it as ISO 8601, such as 2026-12-01T09:00:00+08:00")
            return None
    if not isinstance(at, datetime):
        fault("at", f"{at!r} is no time; give an aware datetime or ISO 8601")
        return None
    if at.tzinfo is None:
        fault("at", f"{at.isoformat()} has no time zone; add one, such as +08:00")
        return None
    if at < now - PAST_GRACE:
        fault("at", f"{at.isoformat()} is in the past; leave it out to send now")
        return None
    return at.astimezone(UTC)


def _read_valid_for(valid_for: Any, fault: Any) -> timedelta | None:
    if valid_for is None:
        return None
    if isinstance(valid_for, int | float) and not isinstance(valid_for, bool) and abs(valid_for) < 1e9:
        valid_for = timedelta(seconds=valid_for)
    if not isinstance(valid_for, timedelta) or not timedelta(0) < valid_for <= MAX_VALID_FOR:
        fault(
            "valid_for",
            f"{valid_for!r} is no length of time; give seconds, above 0 and up to {MAX_VALID_FOR.days} days",
        )
        return None
    return valid_for


def _read_metadata(metadata: Any, fault: Any) -> Mapping[str, Any] | None:
    if metadata is None:
        return None
    try:
        if not isinstance(metadata, Mapping) or not all(isinstance(name, str) for name in metadata):
            raise TypeError("it is no mapping with names as keys")
        size = len(json.dumps(metadata, allow_nan=False).encode())
    except (TypeError, ValueError, RecursionError) as why:
        fault("metadata", f"is not JSON ({why}); use names, strings, numbers, lists, true, false and null")
        return None
    if size > MAX_METADATA_BYTES:
        fault(
            "metadata",
            f"has {size} bytes as JSON, more than {MAX_METADATA_BYTES}; keep it in your own store, under the id",
        )
    return metadata


def _read_id(fields: Mapping[str, Any], default_id: str, fault: Any) -> str:
    key, given = fields.get("key"), fields.get("id")
    if key is not None and given is not None:
        fault("key", "and id are both given; a key makes the id, so give one of them")
    if key is not None:
        if isinstance(key, str) and 0 < len(key) <= 200 and key.isprintable():
            return id_of_key(key)
        fault("key", "is a string of 1 to 200 printable characters")
    if given is not None:
        if isinstance(given, str) and is_id(given):
            return given
        fault("id", f"{given!r} is no id; it is 1 to 64 letters, digits and _ . : -")
    return default_id


def to_json(message: Message) -> str:
    """The message as the intake keeps it; `from_json` reads it back unchanged."""
    return json.dumps(
        {
            "id": message.id,
            "to": message.to,
            "content": message.content,
            "lane": message.lane,
            "account": message.account,
            "created_at": message.created_at.isoformat(),
            "at": message.at and message.at.isoformat(),
            "valid_for": message.valid_for and message.valid_for.total_seconds(),
            "metadata": message.metadata,
            "caller": message.caller,
        },
        separators=(",", ":"),
    )


def from_json(text: str | bytes) -> Message:
    """A message that `to_json` wrote. It was checked when it was written, and is not checked again."""
    fields = json.loads(text)
    at, valid_for = fields["at"], fields["valid_for"]
    return Message(
        id=fields["id"],
        to=tuple(fields["to"]),
        content=fields["content"],
        lane=fields["lane"],
        account=fields["account"],
        created_at=datetime.fromisoformat(fields["created_at"]),
        at=at and datetime.fromisoformat(at),
        valid_for=valid_for and timedelta(seconds=valid_for),
        metadata=fields["metadata"],
        caller=fields["caller"],
    )

"""A message that an app asks us to send, with its ids, and the error of a message that cannot be sent."""

import re
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from hashlib import sha1
from typing import Any, NamedTuple

MSG_ID_END = 2**31
"""A msgId is positive and below this: the vendor's document calls it an int."""
MAX_RECIPIENTS = 10_000
"""Mobiles of one message. The limit keeps one message from holding up Redis; an app splits a longer list."""
MAX_ACCOUNT = 64
MAX_VALID_FOR = timedelta(days=7)
_ID = re.compile(r"[0-9A-Za-z][0-9A-Za-z_.:-]{0,63}")
_KEYS = uuid.UUID("6f1d5c0e-6d0a-5c0b-9a53-0a4f5b6c7d8e")


class MessageKey(NamedTuple):
    """The key of a message, and its owner: a caller of an account."""

    account: str
    caller: str
    """Empty for a caller without a name. All of these share their keys."""
    text: str


@dataclass(frozen=True, slots=True)
class Message:
    """A text for one or more recipients.

    `to` holds normalised mobiles without repeats, in the order given. `at` and `created_at` are aware times. The
    message may go out for `valid_for` after `at`, or after `created_at` without one; None is the validity of its lane.
    `caller` names the sender: where more waits than the gateway takes, each caller gets an equal share.
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
    run_id: int | None = None
    """The run of a campaign that makes the message, if one does."""
    key: MessageKey | None = None
    """The key makes the id, once the day of its first use is known (worker/domain/key.py)."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault of a message: the field, as the sender wrote it, and a sentence with the remedy."""

    field: str
    text: str

    def __str__(self) -> str:
        return f"{self.field} {self.text}"


class Refused(ValueError):
    """The message cannot be sent as it is. `faults` lists everything that is wrong with it; nothing was enqueued."""

    SHOWN = 20

    def __init__(self, faults: Sequence[Fault], *, so_far: str = "nothing was enqueued") -> None:
        self.faults = tuple(faults)
        lines = [str(fault) for fault in self.faults[: self.SHOWN]]
        if len(self.faults) > self.SHOWN:
            lines.append(f"and {len(self.faults) - self.SHOWN} more")
        super().__init__(f"refused, {so_far}: {'; '.join(lines)}")


def id_of(name: bytes) -> str:
    """The id for a name that cannot be an id itself. The same name always gives the same id (UUIDv5, RFC 9562)."""
    raw = bytearray(sha1(_KEYS.bytes + name, usedforsecurity=False).digest()[:16])
    raw[6] = raw[6] & 0x0F | 0x50
    raw[8] = raw[8] & 0x3F | 0x80
    return str(uuid.UUID(bytes=bytes(raw)))


def new_id(now: datetime, random: bytes) -> str:
    """A fresh id that sorts by time (UUIDv7, RFC 9562), so that the ledger's index grows at its end.

    `random` is 10 bytes.
    """
    millis = int(now.timestamp() * 1000).to_bytes(6, "big")
    raw = bytearray(millis + random)
    raw[6] = raw[6] & 0x0F | 0x70
    raw[8] = raw[8] & 0x3F | 0x80
    return str(uuid.UUID(bytes=bytes(raw)))


def is_id(text: str) -> bool:
    """Whether a message can have this id."""
    return _ID.fullmatch(text) is not None

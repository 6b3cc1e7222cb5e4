"""The key of a message: one key of an account's caller names one message, for as many days as keys are kept.

Redis keeps a record of a few bytes under each key. The record tells another message from the same one, and describes
both. It holds no text and no whole mobile.
"""

import struct
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from hashlib import blake2b
from typing import Self

from worker.domain.lane import LANES
from worker.domain.message import Fault, Message, MessageKey, Refused, id_of
from worker.domain.text import units

KEY_DAYS = 7
BUCKETS = 16_384
"""The number of hashes that keys are spread over: a small hash takes a third of the memory of single values."""
_FORM = struct.Struct(">8sHHHHB")
_LANES = tuple(LANES)


def enqueued_in_words(enqueued: Sequence[str]) -> str:
    """How many messages were enqueued before a failure, as half a sentence. `enqueued` has their ids."""
    return (
        f"the first {len(enqueued)} messages are enqueued, nothing further was" if enqueued else "nothing was enqueued"
    )


class KeyUsed(Refused):
    """Keys were used for other messages. Each of `faults` describes both messages of one key.

    `positions` has the position of each faulty message among those given. `enqueued` has the ids that were enqueued
    before. It is empty, unless another process used a key after the first parts of many messages were put in.
    """

    def __init__(self, faults: Mapping[int, Fault], *, enqueued: Sequence[str] = ()) -> None:
        super().__init__(list(faults.values()), so_far=enqueued_in_words(enqueued))
        self.positions = tuple(faults)
        self.enqueued = tuple(enqueued)


def id_of_key(key: MessageKey, day: int) -> str:
    """The id of the message with this key that was first sent on `day`, in days since 1970 (UTC)."""
    return id_of("\0".join((*key, str(day))).encode())


def with_key_id(message: Message, day: int) -> Message:
    """The message with the id that its key gives it, if it is first sent on `day`. Without a key it keeps its id."""
    return message if message.key is None else replace(message, id=id_of_key(message.key, day))


def day_of(now: datetime) -> int:
    """The day in UTC, in days since 1970."""
    return int(now.astimezone(UTC).timestamp() // 86_400)


def bucket_and_name(key: MessageKey) -> tuple[int, bytes]:
    """Where Redis keeps the record of a key: the number of the bucket, and the name in it (10 bytes)."""
    digest = blake2b("\0".join(key).encode(), digest_size=12).digest()
    return int.from_bytes(digest[:2], "big") % BUCKETS, digest[2:]


@dataclass(frozen=True, slots=True)
class KeyRecord:
    """What is kept of the message that a key was used for.

    `digest` covers the lane, the text and the recipients: two messages with equal digests are the same message. Time,
    validity and metadata may differ, because an app that sends again after an error may compute them anew.

    The message's key also keys the digest. A reader of Redis who does not know the key cannot try all codes of six
    digits.
    """

    digest: bytes
    day: int
    recipients: int
    last_digits: int
    units: int
    lane: str

    @classmethod
    def for_message(cls, message: Message, day: int) -> Self:
        """The record of a message with a key. `day` is the day of its first use, in days since 1970."""
        secret = blake2b("\0".join(message.key or ()).encode()).digest()
        identity = "\0".join((message.lane, message.content, *sorted(message.to)))
        digest = blake2b(identity.encode(), digest_size=8, key=secret)
        last_digits = int(message.to[0][-4:])
        return cls(digest.digest(), day, len(message.to), last_digits, units(message.content), message.lane)

    @classmethod
    def unpack(cls, packed: bytes) -> Self:
        """Reads what `pack` wrote."""
        digest, day, recipients, last_digits, length, lane = _FORM.unpack(packed)
        return cls(digest, day, recipients, last_digits, length, _LANES[lane])

    def pack(self) -> bytes:
        """The record as Redis keeps it. The digest comes first, for intake_put.lua compares it."""
        lane = _LANES.index(self.lane)
        return _FORM.pack(self.digest, self.day, self.recipients, self.last_digits, self.units, lane)

    def __str__(self) -> str:
        others = f" and {self.recipients - 1} others" if self.recipients > 1 else ""
        return f"{self.lane} to ****{self.last_digits:04}{others}, {self.units} characters"


def reused_key_fault(key: MessageKey, first: KeyRecord, now: KeyRecord) -> Fault:
    """The fault of a message whose key was used for another message. `first` is that one, `now` this one."""
    date = datetime.fromtimestamp(first.day * 86_400, UTC).date()
    return Fault(
        "key",
        f"was used for another message on {date}: first {first}, now {now}, with another text or other recipients;"
        f" give this one a key of its own (`sms show {id_of_key(key, first.day)}` shows the first)",
    )


def reused_key_faults(messages: Iterable[Message], day: int) -> dict[int, Fault]:
    """A fault for each message that has the key of an earlier, different one of `messages`, by its position."""
    firsts: dict[MessageKey, KeyRecord] = {}
    faults = {}
    for position, message in enumerate(messages):
        if message.key:
            record = KeyRecord.for_message(message, day)
            if (first := firsts.setdefault(message.key, record)).digest != record.digest:
                faults[position] = reused_key_fault(message.key, first, record)
    return faults

"""The key of a message: the same key of an account's caller is the same message, for as many days as keys are kept.

What a key was used for is kept in a few bytes: enough to tell another message from the same one, and to say of both what they are,
with no text and no whole mobile in it.
"""

import struct
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from hashlib import blake2b
from typing import Self

from worker.domain.lane import LANES
from worker.domain.message import Fault, Key, Message, Refused, id_of
from worker.domain.text import units

KEY_DAYS = 7
BUCKETS = 16_384
"""Over so many hashes keys are spread: a small hash takes a third of the memory of as many values by themselves."""
_FORM = struct.Struct(">8sHHHHB")
_LANES = tuple(LANES)


def so_far(enqueued: Sequence[str]) -> str:
    """How much of several messages was enqueued before something failed, in words."""
    return (
        f"the first {len(enqueued)} messages are enqueued, nothing further was" if enqueued else "nothing was enqueued"
    )


class KeyUsed(Refused):
    """Keys were used for other messages. Each of `faults` says of one what both messages are; nothing was enqueued.

    `positions` says of which of the messages given each is. `enqueued` has the ids of the first of many, where another process
    used a key after these were put in.
    """

    def __init__(self, faults: Mapping[int, Fault], *, enqueued: Sequence[str] = ()) -> None:
        super().__init__(list(faults.values()), so_far=so_far(enqueued))
        self.positions = tuple(faults)
        self.enqueued = tuple(enqueued)


def id_of_key(key: Key, day: int) -> str:
    """The id of a message that has this key and was first sent on that day, counted from 1970."""
    return id_of("\0".join((*key, str(day))).encode())


def named(message: Message, day: int) -> Message:
    """The message under the id that its key gives it if it is first sent on that day."""
    return message if message.key is None else replace(message, id=id_of_key(message.key, day))


def day_of(now: datetime) -> int:
    """The day in UTC, counted from 1970."""
    return int(now.astimezone(UTC).timestamp() // 86_400)


def spot(key: Key) -> tuple[int, bytes]:
    """Where a key is kept: the number of its bucket, and its name in there."""
    digest = blake2b("\0".join(key).encode(), digest_size=12).digest()
    return int.from_bytes(digest[:2], "big") % BUCKETS, digest[2:]


@dataclass(frozen=True, slots=True)
class Use:
    """What a key was used for. `digest` is of lane, text and recipients: two messages of one key may differ in nothing else.

    It is keyed by the key of the message: who may read what is kept, and does not know that, cannot try all codes of six digits.

    A time, a validity and metadata may differ: who sends again after an error may well reckon them anew.
    """

    digest: bytes
    day: int
    recipients: int
    last_digits: int
    units: int
    lane: str

    @classmethod
    def of(cls, message: Message, day: int) -> Self:
        """What is kept of a message with a key."""
        secret = blake2b("\0".join(message.key or ()).encode()).digest()
        said = "\0".join((message.lane, message.content, *sorted(message.to)))
        digest = blake2b(said.encode(), digest_size=8, key=secret)
        last_digits = int(message.to[0][-4:])
        return cls(digest.digest(), day, len(message.to), last_digits, units(message.content), message.lane)

    @classmethod
    def unpack(cls, kept: bytes) -> Self:
        """The one that was packed."""
        digest, day, recipients, last_digits, length, lane = _FORM.unpack(kept)
        return cls(digest, day, recipients, last_digits, length, _LANES[lane])

    def pack(self) -> bytes:
        """As it is kept: the digest comes first."""
        lane = _LANES.index(self.lane)
        return _FORM.pack(self.digest, self.day, self.recipients, self.last_digits, self.units, lane)

    def __str__(self) -> str:
        others = f" and {self.recipients - 1} others" if self.recipients > 1 else ""
        return f"{self.lane} to ****{self.last_digits:04}{others}, {self.units} characters"


def used(key: Key, first: Use, now: Use) -> Fault:
    """The fault of a message whose key was used for another one."""
    on = datetime.fromtimestamp(first.day * 86_400, UTC).date()
    return Fault(
        "key",
        f"was used for another message on {on}: first {first}, now {now}, with another text or other recipients;"
        f" give this one a key of its own (`sms show {id_of_key(key, first.day)}` shows the first)",
    )


def clashes(messages: Iterable[Message], day: int) -> dict[int, Fault]:
    """The faults of those whose key an earlier one of them has that is another message, under their positions."""
    firsts: dict[Key, Use] = {}
    faults = {}
    for position, message in enumerate(messages):
        if message.key:
            use = Use.of(message, day)
            if (first := firsts.setdefault(message.key, use)).digest != use.digest:
                faults[position] = used(message.key, first, use)
    return faults

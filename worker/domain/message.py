"""A message: what somebody asks us to send. Reading one finds every fault at once, and refuses it whole."""

import json
import re
import uuid
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from hashlib import sha1
from itertools import islice
from typing import Any, NamedTuple
from unicodedata import normalize

from worker.domain.campaigns.campaign import CALLER
from worker.domain.lane import LANES
from worker.domain.mobile import NotAMobile, normalise
from worker.domain.text import content_faults

MSG_ID_END = 2**31
"""A msgId is positive and below this: the vendor's document calls it an int."""
MAX_RECIPIENTS = 10_000
"""Mobiles of one message: keeps its way through Redis short. More is several messages."""
MAX_METADATA_BYTES = 4096
MAX_METADATA_DEPTH = 16
MAX_CALLER = 64
RESERVED = (CALLER, "campaign:")
"""What only a campaign's name as a caller begins with."""
MAX_ACCOUNT = 64
MAX_VALID_FOR = timedelta(days=7)
HORIZON = timedelta(days=366)
"""How far ahead an `at` may be. It also keeps every time that is reckoned from it within what databases can hold."""
PAST_GRACE = timedelta(minutes=1)
"""An `at` this little in the past is meant as now: clocks differ, and a task may have waited in its queue."""

DEFAULT_ACCOUNT = "default"
"""The one of a message that names none."""

_ID = re.compile(r"[0-9A-Za-z][0-9A-Za-z_.:-]{0,63}")
_KEYS = uuid.UUID("6f1d5c0e-6d0a-5c0b-9a53-0a4f5b6c7d8e")
_UNSTORABLE = re.compile("[\0\ud800-\udfff]")
"""PostgreSQL's texts hold no NUL; half of a surrogate pair is not UTF-8."""
_YEARS = range(2000, 9000)
"""Those of a clock that is merely wrong: with days added or a zone taken off they are still times."""
_SHOWN = 60


class Key(NamedTuple):
    """A key, and whose it is: an account's, and there a caller's who has a name; those who gave none have theirs together."""

    account: str
    caller: str
    text: str


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
    run_id: int | None = None
    """Of the run of a campaign that makes it, if one does."""
    key: Key | None = None
    """Makes its id, once it is known when it was first used (worker/domain/key.py)."""


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

    def __init__(self, faults: Sequence[Fault], *, so_far: str = "nothing was enqueued") -> None:
        self.faults = tuple(faults)
        lines = [str(fault) for fault in self.faults[: self.SHOWN]]
        if len(self.faults) > self.SHOWN:
            lines.append(f"and {len(self.faults) - self.SHOWN} more")
        super().__init__(f"refused, {so_far}: {'; '.join(lines)}")


FIELDS = frozenset({"to", "content", "lane", "account", "key", "at", "valid_for", "notify", "metadata", "id", "caller"})

BY_NAME = frozenset({"args", "kwargs"})
"""What a task has in place of those fields, where its arguments are not one `message`."""


Tell = Callable[[str, str], None]
"""Notes a fault: the field, and the sentence about it."""


def id_of(name: bytes) -> str:
    """An id for something that has a name, but none that can be an id: always the same (UUIDv5, RFC 9562)."""
    raw = bytearray(sha1(_KEYS.bytes + name, usedforsecurity=False).digest()[:16])
    raw[6] = raw[6] & 0x0F | 0x50
    raw[8] = raw[8] & 0x3F | 0x80
    return str(uuid.UUID(bytes=bytes(raw)))


def caller_fault(caller: object) -> str | None:
    """What is wrong with the name of a caller, with the remedy; None where it will do."""
    if not isinstance(caller, str) or not caller.isprintable() or not 0 < len(caller) <= MAX_CALLER:
        return f"is a name of 1 to {MAX_CALLER} printable characters"
    if _is_reserved(caller):
        return f"that begins with {' or '.join(RESERVED)} is a campaign; give another name"
    return None


def _is_reserved(caller: str) -> bool:
    # Also one that only looks so, in capitals or full width.
    return normalize("NFKC", caller).casefold().startswith(RESERVED)


OTHERS = "(others)"
"""The caller that those are together whom the settings do not name."""


def as_known(message: Message, callers: Collection[str]) -> Message:
    """The message; a caller that is none of these becomes OTHERS, so that invented names share one share. Without names all are known."""
    return message if not callers or message.caller in callers else replace(message, caller=OTHERS)


def as_caller(machine: str) -> str:
    """A machine's name as the name of a caller: whatever it holds, it is one."""
    name = "".join(one if one.isprintable() else "?" for one in machine[:MAX_CALLER])
    return f"?{name}"[:MAX_CALLER] if _is_reserved(name) else name


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
    fields: Any,
    *,
    now: datetime,
    default_id: str,
    accounts: Collection[str] | None = None,
    caller: str = "",
    lane: str | None = None,
) -> Message:
    """The message that `fields` describe (those of `SmsClient.send`, as JSON can carry them).

    `default_id` names it where it has no `id`; one with a `key` gets the key's once it is put into the intake. `accounts` are the known ones; None where nobody can say. `caller`
    is who sends it, and `lane` the one whose queue it came by, if it came by one: it is of that lane, and may not name another.
    Raises Refused with every fault.
    """
    if not isinstance(fields, Mapping):
        raise Refused([Fault("message", f"is no mapping but a {type(fields).__name__}; give to, content and the like")])
    if fields.keys() == BY_NAME:
        text = 'is not there by its name; write send_task("sms.send", kwargs={"message": {"to": …, "content": …}}, …)'
        raise Refused([Fault("message", text)])
    faults: list[Fault] = []

    def fault(field: str, text: str) -> None:
        faults.append(Fault(field, text))

    for name in [name for name in fields if name not in FIELDS]:
        fault(_shown(name), f"is no field of a message; its fields are {', '.join(sorted(FIELDS))}")
    to = _read_mobiles(fields.get("to"), fault)
    content = fields.get("content")
    if isinstance(content, str):
        for text in content_faults(content):
            fault("content", text)
    else:
        fault("content", "is missing; give the text as a string")
    named = fields.get("lane") or lane or "notice"
    if not isinstance(named, str) or named not in LANES:
        fault("lane", f"{_quoted(named)} is unknown; it is one of {', '.join(LANES)}")
    elif lane is not None and named != lane:
        fault(
            "lane", f"{named!r} came by the queue {LANES[lane].queue}; send it to {LANES[named].queue}, or name no lane"
        )
    account = _read_account(fields.get("account") or DEFAULT_ACCOUNT, accounts, fault)
    at = _read_at(fields.get("at"), now, fault)
    valid_for = _read_valid_for(fields.get("valid_for"), fault)
    if fields.get("notify") is not None:
        fault("notify", "is not there yet: this version tells no events; leave it out and ask `sms show`")
    metadata = _read_metadata(fields.get("metadata"), fault)
    message_id = _read_id(fields, default_id, fault)
    key = fields.get("key")
    given = fields.get("caller")
    if given is not None and (wrong := caller_fault(given)):
        fault("caller", wrong)
    if faults:
        raise Refused(faults)
    return Message(
        id=message_id,
        to=to,
        content=str(content),
        lane=named,
        account=account,
        created_at=now,
        at=at,
        valid_for=valid_for,
        metadata=metadata,
        caller=caller if given is None else given,
        key=None if key is None else Key(account, given or "", key),
    )


def _shown(value: object) -> str:
    """A value in so many characters as a fault may take, whatever it is: also what is nested without end."""
    if isinstance(value, str):
        return value if len(value) <= _SHOWN else f"{value[:_SHOWN]}…"
    if isinstance(value, int) and value.bit_length() > 200:
        return "a number of many digits"
    if value is None or isinstance(value, int | float | timedelta):
        return repr(value)
    return f"a {type(value).__name__}"


def _quoted(value: object) -> str:
    return repr(_shown(value)) if isinstance(value, str) else _shown(value)


def _read_account(account: Any, accounts: Collection[str] | None, fault: Tell) -> str:
    if not isinstance(account, str) or len(account) > MAX_ACCOUNT or not account.isprintable():
        fault("account", f"{_quoted(account)} is unknown; a name has up to {MAX_ACCOUNT} printable characters")
    elif accounts is not None and account not in accounts:
        fault("account", f"{_quoted(account)} is unknown; the accounts are: {', '.join(sorted(accounts))}")
    return str(account)


def _read_mobiles(to: Any, fault: Tell) -> tuple[str, ...]:
    if isinstance(to, str):
        to = [to]
    if not isinstance(to, Iterable) or isinstance(to, Mapping | bytes):
        fault("to", "is missing; give one mobile or a list of them")
        return ()
    written = list(islice(to, MAX_RECIPIENTS + 1))
    if not written:
        fault("to", "is empty; give at least one mobile")
    if len(written) > MAX_RECIPIENTS:
        fault("to", f"has more than the {MAX_RECIPIENTS} mobiles of one message; send several messages")
        return ()
    mobiles: dict[str, None] = {}
    for position, text in enumerate(written):
        if not isinstance(text, str):
            fault(f"to[{position}]", f"{_quoted(text)} is no string; write the number in quotes")
            continue
        try:
            mobiles[normalise(text)] = None
        except NotAMobile as why:
            fault(f"to[{position}]", f"{_quoted(text)} {why}")
    return tuple(mobiles)


def _read_at(at: Any, now: datetime, fault: Tell) -> datetime | None:
    if at is None:
        return None
    if isinstance(at, str):
        try:
            at = datetime.fromisoformat(at)
        except ValueError:
            fault("at", f"{_quoted(at)} is no time; write it as ISO 8601, such as 2026-12-01T09:00:00+08:00")
            return None
    if not isinstance(at, datetime):
        fault("at", f"{_quoted(at)} is no time; give an aware datetime or ISO 8601")
        return None
    # Compared before it is converted: a time near the end of the calendar is none any more in another zone.
    if at.utcoffset() is None:
        fault("at", f"{at.isoformat()} has no time zone; add one, such as +08:00")
    elif at < now - PAST_GRACE:
        fault("at", f"{at.isoformat()} is in the past; leave it out to send now")
    elif at > now + HORIZON:
        fault("at", f"{at.isoformat()} is more than {HORIZON.days} days ahead; send it when that is nearer")
    else:
        return at.astimezone(UTC)
    return None


def _read_valid_for(valid_for: Any, fault: Tell) -> timedelta | None:
    if valid_for is None:
        return None
    length = valid_for
    if isinstance(length, int | float) and not isinstance(length, bool) and abs(length) < 1e9:
        length = timedelta(seconds=length)
    if not isinstance(length, timedelta) or not timedelta(0) < length <= MAX_VALID_FOR:
        fault(
            "valid_for",
            f"{_quoted(valid_for)} is no length of time; give seconds, above 0 and up to {MAX_VALID_FOR.days} days",
        )
        return None
    return length


def _read_metadata(metadata: Any, fault: Tell) -> Mapping[str, Any] | None:
    if metadata is None:
        return None
    try:
        if not isinstance(metadata, Mapping) or not all(isinstance(name, str) for name in metadata):
            raise TypeError("it is no mapping with names as keys")
        size = len(json.dumps(metadata, allow_nan=False).encode())
    except RecursionError:
        fault("metadata", f"is nested deeper than {MAX_METADATA_DEPTH} levels; flatten it")
        return None
    except (TypeError, ValueError) as why:
        fault("metadata", f"is not JSON ({why}); use names, strings, numbers, lists, true, false and null")
        return None
    if size > MAX_METADATA_BYTES:
        fault(
            "metadata",
            f"has {size} bytes as JSON, more than {MAX_METADATA_BYTES}; keep it in your own store, under the id",
        )
    _look_into(metadata, fault)
    return metadata


def _look_into(metadata: Mapping[str, Any], fault: Tell) -> None:
    """Tells what in it no ledger could hold or give back. Level by level: it may be nested deeper than Python calls."""
    level: list[Any] = [metadata]
    for _ in range(MAX_METADATA_DEPTH):
        inner: list[Any] = []
        for one in level:
            inner += [*one.keys(), *one.values()] if isinstance(one, Mapping) else one
        for text in inner:
            if isinstance(text, str) and (found := _UNSTORABLE.search(text)):
                fault("metadata", f"has the character U+{ord(found[0]):04X}, which cannot be kept; remove it")
                return
        level = [one for one in inner if isinstance(one, Mapping | list | tuple)]
        if not level:
            return
    fault("metadata", f"is nested deeper than {MAX_METADATA_DEPTH} levels; flatten it")


def _read_id(fields: Mapping[str, Any], default_id: str, fault: Tell) -> str:
    key, given = fields.get("key"), fields.get("id")
    if key is not None and given is not None:
        fault("key", "and id are both given; a key makes the id, so give one of them")
    if key is not None and not (isinstance(key, str) and 0 < len(key) <= 200 and key.isprintable()):
        fault("key", "is a string of 1 to 200 printable characters")
    if given is not None:
        if isinstance(given, str) and is_id(given):
            return given
        fault("id", f"{_quoted(given)} is no id; it is 1 to 64 letters, digits and _ . : -")
    return default_id


def to_json(message: Message) -> str:
    """The message as the intake keeps it; `from_json` reads it back unchanged.

    Redis' memory is what bounds how many can wait: what is as usual is left out, and Chinese is written as it is.
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
    # Half a character cannot be written as it is: a message that is refused for it may have one.
    return text if _UNSTORABLE.search(text) is None else json.dumps(fields, separators=(",", ":"))


_IN_JSON = ("id", "to", "content", "lane", "account", "at", "valid_for", "metadata", "caller")


def from_json(text: str | bytes) -> Message:
    """A message that `to_json` wrote. Anybody can write to Redis, so it is read as any other.

    Raises Refused with every fault. Names that it does not know it passes over: a later version may have written them.
    """
    try:
        fields = json.loads(text)
    except (ValueError, RecursionError) as why:
        raise Refused(
            [Fault("message", f"is not JSON in UTF-8 ({type(why).__name__}); `SmsClient` writes it")]
        ) from why
    if not isinstance(fields, Mapping):
        raise Refused([Fault("message", f"is no mapping but a {type(fields).__name__}; `SmsClient` writes it")])
    faults: list[Fault] = []
    known = {name: fields.get(name) or None for name in _IN_JSON} | {"metadata": fields.get("metadata")}
    created_at = _read_created_at(fields.get("created_at"))
    if created_at is None:
        faults.append(Fault("created_at", "is no time with a zone; `SmsClient` writes it"))
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
    return None if at.utcoffset() is None or at.year not in _YEARS else at

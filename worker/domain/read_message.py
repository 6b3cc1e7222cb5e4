"""A message is read from the fields that a backend app gives, with all its faults at once."""

import json
import re
from collections.abc import Callable, Collection, Iterable, Mapping
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Any

from worker.domain.caller import caller_fault
from worker.domain.lane import LANES
from worker.domain.message import MAX_ACCOUNT, MAX_RECIPIENTS, MAX_VALID_FOR, Fault, Message, MessageKey, Refused, is_id
from worker.domain.mobile import NotAMobile, normalise
from worker.domain.text import content_faults

MAX_METADATA_BYTES = 4096
MAX_METADATA_DEPTH = 16
HORIZON = timedelta(days=366)
"""How far ahead an `at` may be. It also keeps every time that is reckoned from it within what databases can hold."""
PAST_GRACE = timedelta(minutes=1)
"""An `at` this little in the past is meant as now: clocks differ, and a task may have waited in its queue."""
DEFAULT_ACCOUNT = "default"
"""The one of a message that names none."""
UNSTORABLE = re.compile("[\0\ud800-\udfff]")
"""PostgreSQL's texts hold no NUL; half of a surrogate pair is not UTF-8."""
YEARS = range(2000, 9000)
"""Those of a clock that is merely wrong: with days added or a zone taken off they are still times."""
_SHOWN = 60
FIELDS = frozenset({"to", "content", "lane", "account", "key", "at", "valid_for", "notify", "metadata", "id", "caller"})
BY_NAME = frozenset({"args", "kwargs"})
"""What a task has in place of those fields, where its arguments are not one `message`."""
Tell = Callable[[str, str], None]
"""Notes a fault: the field, and the sentence about it."""


def read_message(
    fields: Any,
    *,
    now: datetime,
    default_id: str,
    accounts: Collection[str] | None = None,
    caller: str = "",
    lane: str | None = None,
) -> Message:
    """Returns the message that `fields` describe: those of `SmsClient.send`, as JSON can carry them.

    `default_id` is its id where it has none; one with a `key` gets the id of its key when it is put into the intake.
    `accounts` are the known ones, None where nobody can say. `caller` sends it, unless it names another. `lane` is the one
    whose queue it came by, if any: it is of that lane, and may not name another.
    Raises Refused with every fault.
    """
    if not isinstance(fields, Mapping):
        text = f"is a {type(fields).__name__} and not a mapping; give to, content and the like"
        raise Refused([Fault("message", text)])
    if fields.keys() == BY_NAME:
        text = 'is not there by its name; write send_task("sms.send", kwargs={"message": {"to": …, "content": …}}, …)'
        raise Refused([Fault("message", text)])
    faults: list[Fault] = []

    def fault(field: str, text: str) -> None:
        faults.append(Fault(field, text))

    # In the order in which people write the fields: so are the faults told.
    _refuse_others(fields, fault)
    to = _read_mobiles(fields.get("to"), fault)
    content = _read_content(fields.get("content"), fault)
    lane = _read_lane(fields.get("lane"), lane, fault)
    account = _read_account(fields.get("account") or DEFAULT_ACCOUNT, accounts, fault)
    at = _read_at(fields.get("at"), now, fault)
    valid_for = _read_valid_for(fields.get("valid_for"), fault)
    _refuse_notify(fields.get("notify"), fault)
    metadata = _read_metadata(fields.get("metadata"), fault)
    message_id = _read_id(fields, default_id, fault)
    own_caller = _read_caller(fields.get("caller"), fault)
    if faults:
        raise Refused(faults)
    return Message(
        id=message_id,
        to=to,
        content=content,
        lane=lane,
        account=account,
        created_at=now,
        at=at,
        valid_for=valid_for,
        metadata=metadata,
        caller=caller if own_caller is None else own_caller,
        key=None if fields.get("key") is None else MessageKey(account, own_caller or "", fields["key"]),
    )


def _refuse_others(fields: Mapping[str, Any], fault: Tell) -> None:
    for name in fields:
        if name not in FIELDS:
            fault(_shown(name), f"is not a field of a message; its fields are {', '.join(sorted(FIELDS))}")


def _refuse_notify(notify: Any, fault: Tell) -> None:
    if notify is not None:
        fault("notify", "is not there yet: this version tells no events; leave it out and ask `sms show`")


def _read_content(content: Any, fault: Tell) -> str:
    if not isinstance(content, str):
        fault("content", "is missing; give the text as a string")
        return ""
    for text in content_faults(content):
        fault("content", text)
    return content


def _read_lane(lane: Any, of_queue: str | None, fault: Tell) -> str:
    named = lane or of_queue or "notice"
    if not isinstance(named, str) or named not in LANES:
        fault("lane", f"{_quoted(named)} is unknown; it is one of {', '.join(LANES)}")
    elif of_queue is not None and named != of_queue:
        queue = LANES[of_queue].queue
        fault("lane", f"{named!r} came by the queue {queue}; send it to {LANES[named].queue}, or name no lane")
    return str(named)


def _read_caller(caller: Any, fault: Tell) -> str | None:
    if caller is None:
        return None
    if wrong := caller_fault(caller):
        fault("caller", wrong)
    return str(caller)


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
            fault(f"to[{position}]", f"{_quoted(text)} is not a string; write the number in quotes")
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
            fault("at", f"{_quoted(at)} is not a time; write it as ISO 8601, such as 2026-12-01T09:00:00+08:00")
            return None
    if not isinstance(at, datetime):
        fault("at", f"{_quoted(at)} is not a time; give an aware datetime or ISO 8601")
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
            f"{_quoted(valid_for)} is not a length of time; give seconds, above 0 and up to {MAX_VALID_FOR.days} days",
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
            if isinstance(text, str) and (found := UNSTORABLE.search(text)):
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
        fault("id", f"{_quoted(given)} is not an id; it is 1 to 64 letters, digits and _ . : -")
    return default_id

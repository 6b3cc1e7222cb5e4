"""Reads a message from the fields that a backend app gives, and finds all its faults at once."""

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
"""How far ahead an `at` may be. It also keeps every time that is computed from it within the range of databases."""
PAST_GRACE = timedelta(minutes=1)
"""An `at` this little in the past means now: clocks differ, and a task may have waited in its queue."""
DEFAULT_ACCOUNT = "default"
"""The account of a message that names none."""
UNSTORABLE = re.compile("[\0\ud800-\udfff]")
"""The characters that the ledger cannot keep: PostgreSQL allows no NUL, and half a surrogate pair is not UTF-8."""
YEARS = range(2000, 9000)
"""The years that a wrong clock may show. With days added, or in another zone, they are still valid times."""
_SHOWN = 60
FIELDS = frozenset({"to", "content", "lane", "account", "key", "at", "valid_for", "notify", "metadata", "id", "caller"})
BY_NAME = frozenset({"args", "kwargs"})
"""The fields of a task whose arguments are not one `message`."""
AddFault = Callable[[str, str], None]
"""Adds a fault: the field, and the sentence about it."""


def read_message(
    fields: Any,
    *,
    now: datetime,
    default_id: str,
    accounts: Collection[str] | None = None,
    caller: str = "",
    lane: str | None = None,
) -> Message:
    """Returns the message that `fields` describe: the arguments of `SmsClient.send`, as JSON can carry them.

    `default_id` is the id of a message that gives none. A message with a `key` gets the id of its key in the intake.
    `accounts` has the known accounts; None where they are not known. `caller` is the sender of a message that names
    none. `lane` is the lane whose queue the message came by, if any: then the message may not name another lane.
    Raises Refused with every fault.
    """
    _refuse_other_forms(fields)
    faults: list[Fault] = []

    def add_fault(field: str, text: str) -> None:
        faults.append(Fault(field, text))

    # The faults come in the order in which people write the fields.
    _refuse_unknown(fields, add_fault)
    to = _read_mobiles(fields.get("to"), add_fault)
    content = _read_content(fields.get("content"), add_fault)
    lane = _read_lane(fields.get("lane"), lane, add_fault)
    account = _read_account(fields.get("account") or DEFAULT_ACCOUNT, accounts, add_fault)
    at = _read_at(fields.get("at"), now, add_fault)
    valid_for = _read_valid_for(fields.get("valid_for"), add_fault)
    _refuse_notify(fields.get("notify"), add_fault)
    metadata = _read_metadata(fields.get("metadata"), add_fault)
    message_id = _read_id(fields, default_id, add_fault)
    own_caller = _read_caller(fields.get("caller"), add_fault)
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


def _refuse_other_forms(fields: Any) -> None:
    """Raises Refused if the fields of a message cannot be looked up."""
    if not isinstance(fields, Mapping):
        text = f"is a {type(fields).__name__} and not a mapping; give to, content and the like"
        raise Refused([Fault("message", text)])
    if fields.keys() == BY_NAME:
        text = 'is not given by its name; write send_task("sms.send", kwargs={"message": {"to": …, "content": …}}, …)'
        raise Refused([Fault("message", text)])


def _refuse_unknown(fields: Mapping[str, Any], add_fault: AddFault) -> None:
    for name in fields:
        if name not in FIELDS:
            add_fault(_shown(name), f"is not a field of a message; its fields are {', '.join(sorted(FIELDS))}")


def _refuse_notify(notify: Any, add_fault: AddFault) -> None:
    if notify is not None:
        add_fault("notify", "does not exist yet: this version sends no events; leave it out and ask `sms show`")


def _read_content(content: Any, add_fault: AddFault) -> str:
    if not isinstance(content, str):
        add_fault("content", "is missing; give the text as a string")
        return ""
    for text in content_faults(content):
        add_fault("content", text)
    return content


def _read_lane(given: Any, lane_of_queue: str | None, add_fault: AddFault) -> str:
    lane = given or lane_of_queue or "notice"
    if not isinstance(lane, str) or lane not in LANES:
        add_fault("lane", f"{_quoted(lane)} is unknown; it is one of {', '.join(LANES)}")
    elif lane_of_queue is not None and lane != lane_of_queue:
        queue = LANES[lane_of_queue].queue
        add_fault("lane", f"{lane!r} came by the queue {queue}; send it to {LANES[lane].queue}, or name no lane")
    return str(lane)


def _read_caller(caller: Any, add_fault: AddFault) -> str | None:
    if caller is None:
        return None
    if wrong := caller_fault(caller):
        add_fault("caller", wrong)
    return str(caller)


def _shown(value: object) -> str:
    """Any value, in few enough characters for a fault. A nested value is shown by its type only."""
    if isinstance(value, str):
        return value if len(value) <= _SHOWN else f"{value[:_SHOWN]}…"
    if isinstance(value, int) and value.bit_length() > 200:
        return "a number of many digits"
    if value is None or isinstance(value, int | float | timedelta):
        return repr(value)
    return f"a {type(value).__name__}"


def _quoted(value: object) -> str:
    return repr(_shown(value)) if isinstance(value, str) else _shown(value)


def _read_account(account: Any, accounts: Collection[str] | None, add_fault: AddFault) -> str:
    if not isinstance(account, str) or len(account) > MAX_ACCOUNT or not account.isprintable():
        add_fault("account", f"{_quoted(account)} is unknown; a name has up to {MAX_ACCOUNT} printable characters")
    elif accounts is not None and account not in accounts:
        add_fault("account", f"{_quoted(account)} is unknown; the accounts are: {', '.join(sorted(accounts))}")
    return str(account)


def _read_mobiles(to: Any, add_fault: AddFault) -> tuple[str, ...]:
    if isinstance(to, str):
        to = [to]
    if not isinstance(to, Iterable) or isinstance(to, Mapping | bytes):
        add_fault("to", "is missing; give one mobile or a list of them")
        return ()
    written = list(islice(to, MAX_RECIPIENTS + 1))
    if not written:
        add_fault("to", "is empty; give at least one mobile")
    if len(written) > MAX_RECIPIENTS:
        add_fault("to", f"has more than the {MAX_RECIPIENTS} mobiles of one message; send several messages")
        return ()
    mobiles: dict[str, None] = {}
    for position, text in enumerate(written):
        if not isinstance(text, str):
            add_fault(f"to[{position}]", f"{_quoted(text)} is not a string; write the number in quotes")
            continue
        try:
            mobiles[normalise(text)] = None
        except NotAMobile as error:
            add_fault(f"to[{position}]", f"{_quoted(text)} {error}")
    return tuple(mobiles)


def _read_at(at: Any, now: datetime, add_fault: AddFault) -> datetime | None:
    if at is None:
        return None
    if isinstance(at, str):
        try:
            at = datetime.fromisoformat(at)
        except ValueError:
            add_fault("at", f"{_quoted(at)} is not a time; write it as ISO 8601, such as 2026-12-01T09:00:00+08:00")
            return None
    if not isinstance(at, datetime):
        add_fault("at", f"{_quoted(at)} is not a time; give an aware datetime or ISO 8601")
        return None
    # Compared before it is converted: in another zone, a time near the end of the calendar is out of range.
    if at.utcoffset() is None:
        add_fault("at", f"{at.isoformat()} has no time zone; add one, such as +08:00")
    elif at < now - PAST_GRACE:
        add_fault("at", f"{at.isoformat()} is in the past; leave it out to send now")
    elif at > now + HORIZON:
        add_fault("at", f"{at.isoformat()} is more than {HORIZON.days} days ahead; send it when that is nearer")
    else:
        return at.astimezone(UTC)
    return None


def _read_valid_for(valid_for: Any, add_fault: AddFault) -> timedelta | None:
    if valid_for is None:
        return None
    length = valid_for
    if isinstance(length, int | float) and not isinstance(length, bool) and abs(length) < 1e9:
        length = timedelta(seconds=length)
    if not isinstance(length, timedelta) or not timedelta(0) < length <= MAX_VALID_FOR:
        add_fault(
            "valid_for",
            f"{_quoted(valid_for)} is not a length of time; give seconds, above 0 and up to {MAX_VALID_FOR.days} days",
        )
        return None
    return length


def _read_metadata(metadata: Any, add_fault: AddFault) -> Mapping[str, Any] | None:
    if metadata is None:
        return None
    try:
        if not isinstance(metadata, Mapping) or not all(isinstance(name, str) for name in metadata):
            raise TypeError("it is not a mapping with names as keys")
        size = len(json.dumps(metadata, allow_nan=False).encode())
    except RecursionError:
        add_fault("metadata", f"is nested deeper than {MAX_METADATA_DEPTH} levels; flatten it")
        return None
    except (TypeError, ValueError) as error:
        add_fault("metadata", f"is not JSON ({error}); use names, strings, numbers, lists, true, false and null")
        return None
    if size > MAX_METADATA_BYTES:
        add_fault(
            "metadata",
            f"has {size} bytes as JSON, more than {MAX_METADATA_BYTES}; keep it in your own store, under the id",
        )
    _check_values(metadata, add_fault)
    return metadata


def _check_values(metadata: Mapping[str, Any], add_fault: AddFault) -> None:
    """Adds a fault if the ledger could not keep the metadata. It goes level by level, for Python limits recursion."""
    level: list[Any] = [metadata]
    for _ in range(MAX_METADATA_DEPTH):
        values: list[Any] = []
        for container in level:
            values += [*container.keys(), *container.values()] if isinstance(container, Mapping) else container
        for value in values:
            if isinstance(value, str) and (match := UNSTORABLE.search(value)):
                add_fault("metadata", f"has the character U+{ord(match[0]):04X}, which cannot be kept; remove it")
                return
        level = [value for value in values if isinstance(value, Mapping | list | tuple)]
        if not level:
            return
    add_fault("metadata", f"is nested deeper than {MAX_METADATA_DEPTH} levels; flatten it")


def _read_id(fields: Mapping[str, Any], default_id: str, add_fault: AddFault) -> str:
    key, given = fields.get("key"), fields.get("id")
    if key is not None and given is not None:
        add_fault("key", "and id are both given; a key makes the id, so give one of them")
    if key is not None and not (isinstance(key, str) and 0 < len(key) <= 200 and key.isprintable()):
        add_fault("key", "is a string of 1 to 200 printable characters")
    if given is not None:
        if isinstance(given, str) and is_id(given):
            return given
        add_fault("id", f"{_quoted(given)} is not an id; it is 1 to 64 letters, digits and _ . : -")
    return default_id

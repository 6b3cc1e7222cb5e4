"""The intake: where a message lies in Redis until the ledger has it, so that a task that is lost takes nothing with it.

Each lane has a place, and so have pushes that came while the ledger was away: a hash of what lies there, by id; what of it
waits; and what was given to a worker, until when. What is put in is removed only once the ledger has committed it. A clock
decides of nothing but how soon what was given out and not removed waits again.
"""

import base64
import json
import logging
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from hashlib import sha1
from importlib.resources import files
from typing import Any

from redis import Redis
from redis.exceptions import NoScriptError

from worker.domain.key import KEY_DAYS, KeyUsed, Use, day_of, id_of_key, named, spot, used
from worker.domain.lane import LANES
from worker.domain.message import Fault, Message, Refused, from_json, to_json

log = logging.getLogger(__name__)

LOST_AFTER = timedelta(seconds=5)
"""After this long without a removal, an item waits again: its worker was lost, or waits for the ledger."""
TAKEN_AT_ONCE = 500
GIVEN_BACK_AT_ONCE = 100 * TAKEN_AT_ONCE
BYTES_AT_ONCE = 500_000
"""What one worker is given: enough to make its commit worth it, and little enough to be kept in a moment."""

PUSHES = "push"
"""The place for pushes; each lane is a place of its own name."""
PLACES = (*LANES, PUSHES)

MOST_PUSH_BYTES = 64 * 1024 * 1024
"""Of pushes, while the ledger is away: some 80,000 that have one report each, more where they have many. Messages keep the rest of Redis."""
PUSH_OVERHEAD = 500
"""Bytes that a push of a few words takes up in Redis."""
_PUSH_BYTES = "sms:intake:push:bytes"

_FOREIGN = b"foreign "
"""What an item of `put_foreign` begins with; no JSON does."""
_KEYS, _KEY_DAYS = "sms:keys", "sms:key-days"
# The upkeep of a full Redis is what makes room in it, so these run there too (allow-oom).
_GIVE_BACK = """#!lua flags=allow-oom
local lost = redis.call('ZRANGEBYSCORE', KEYS[2], '-inf', ARGV[1], 'LIMIT', 0, ARGV[2])
if #lost > 0 then
  redis.call('SET', KEYS[3], ARGV[3], 'NX')
end
for _, id in ipairs(lost) do
  redis.call('ZADD', KEYS[1], 'NX', ARGV[1], id)
  redis.call('ZREM', KEYS[2], id)
end
return { #lost, redis.call('ZCARD', KEYS[1]) + redis.call('ZCARD', KEYS[4]) }
"""
_PARK = """#!lua flags=allow-oom
for i = 2, #ARGV, 2 do
  redis.call('ZREM', KEYS[1], ARGV[i])
  redis.call('ZADD', KEYS[2], ARGV[i + 1], ARGV[i])
end
redis.call('ZADD', KEYS[3], redis.call('ZRANGE', KEYS[2], 0, 0, 'WITHSCORES')[2], ARGV[1])
"""
_PUT_FOREIGN = """#!lua flags=allow-oom
redis.call('HSETNX', KEYS[1], ARGV[1], ARGV[2])
redis.call('ZADD', KEYS[2], 'NX', ARGV[3], ARGV[1])
"""
_PUT_PUSH = """
local used = tonumber(redis.call('GET', KEYS[3]) or '0')
if used > 0 and redis.call('HLEN', KEYS[1]) == 0 then
  used = 0
  redis.call('SET', KEYS[3], 0)
end
local cost = #ARGV[2] + tonumber(ARGV[5])
if used + cost > tonumber(ARGV[4]) then
  return 0
end
if redis.call('HSETNX', KEYS[1], ARGV[1], ARGV[2]) == 1 then
  redis.call('INCRBY', KEYS[3], cost)
end
redis.call('ZADD', KEYS[2], 'NX', ARGV[3], ARGV[1])
return 1
"""
_REMOVE_PUSHES = """#!lua flags=allow-oom
local freed = 0
local overhead = tonumber(table.remove(ARGV, 1))
for _, id in ipairs(ARGV) do
  freed = freed + redis.call('HSTRLEN', KEYS[1], id)
  freed = freed + redis.call('HDEL', KEYS[1], id) * overhead
  redis.call('ZREM', KEYS[2], id)
  redis.call('ZREM', KEYS[3], id)
end
redis.call('DEL', KEYS[5])
-- What a version before this one put in was not counted.
if redis.call('HLEN', KEYS[1]) == 0 or redis.call('DECRBY', KEYS[4], freed) < 0 then
  redis.call('DEL', KEYS[4])
end
"""
_IF_FULL = "_if_full"


def _keys(place: str) -> tuple[str, str, str]:
    return f"sms:intake:{place}", f"sms:intake:{place}:waiting", f"sms:intake:{place}:taken"


def _parked(place: str) -> str:
    """The accounts that something is parked for, and with `:ACCOUNT` behind it what that is; each by the time when it ends."""
    return f"sms:intake:{place}:parked"


def _stuck(place: str) -> str:
    """Since when there has been something that was given out in vain, and nothing was taken out: as in no order of its own."""
    return f"sms:intake:{place}:stuck"


def put(redis: Redis, messages: Sequence[Message], *, now: datetime, if_full: bool = False) -> list[str]:
    """Puts the messages in, all or none; their ids. One whose id lies there already, or whose key was used for it, stays as it is.

    `if_full` is for messages that have just been taken out of Redis: it has room for them, also where it is full.
    Raises KeyUsed, and puts none in, where a key was used for another message.
    """
    return _put_or_look(redis, messages, now, script="put_if_full" if if_full else "put")


def look(redis: Redis, messages: Sequence[Message], *, now: datetime) -> None:
    """Raises KeyUsed where the key of one of them was used for another message. Puts nothing in."""
    _put_or_look(redis, messages, now, script=None)


def _put_or_look(redis: Redis, messages: Sequence[Message], now: datetime, *, script: str | None) -> list[str]:
    day = day_of(now)
    put_under = [named(message, day) for message in messages]
    args: list[str | bytes | float] = [now.timestamp(), KEY_DAYS, int(script is not None)]
    for message in put_under:
        args += (message.lane, message.id, to_json(message)) if script else ("", "", "")
        args += _key_args(message, day)
    text, digest = _script(script or "put")
    try:
        found: Any = redis.evalsha(digest, 1, _KEY_DAYS, *args)
    except NoScriptError:
        found = redis.eval(text, 1, _KEY_DAYS, *args)
    firsts = [Use.unpack(use) if use else None for use in found]
    faults = {
        position: used(message.key, first, this)
        for position, (message, first) in enumerate(zip(put_under, firsts, strict=True))
        if message.key and first and first.digest != (this := Use.of(message, day)).digest
    }
    if faults:
        raise KeyUsed(faults)
    return [
        id_of_key(message.key, first.day) if message.key and first else message.id
        for message, first in zip(put_under, firsts, strict=True)
    ]


def _key_args(message: Message, day: int) -> tuple[str | bytes, ...]:
    if message.key is None:
        return "", "", ""
    bucket, name = spot(message.key)
    return f"{_KEYS}:{bucket}", name, Use.of(message, day).pack()


def keep_keys(redis: Redis, days: int) -> None:
    """Has keys kept for so many days from now on, also those that were used before."""
    redis.set(_KEY_DAYS, days)


def put_foreign(
    redis: Redis, place: str, item_id: str, payload: bytes, faults: Sequence[Fault], *, now: datetime
) -> None:
    """Puts in something that came by another way and cannot be sent, for a worker to keep it as refused for these faults."""
    told = json.dumps([[fault.field, fault.text] for fault in faults]).encode()
    items, waiting, _ = _keys(place)
    redis.eval(_PUT_FOREIGN, 2, items, waiting, item_id, _FOREIGN + told + b"\n" + payload, now.timestamp())


def put_push(redis: Redis, push_id: str, body: bytes, *, source: str, now: datetime) -> bool:
    """Puts a raw push in, for the time when the ledger is back. False where pushes have MOST_PUSH_BYTES there already."""
    text = json.dumps({"body": base64.b64encode(body).decode(), "source": source, "received_at": now.isoformat()})
    items, waiting, _ = _keys(PUSHES)
    args = push_id, text, now.timestamp(), MOST_PUSH_BYTES, PUSH_OVERHEAD
    return bool(redis.eval(_PUT_PUSH, 3, items, waiting, _PUSH_BYTES, *args))


def push_bytes(redis: Redis) -> int:
    """What the pushes that lie here take up."""
    used: Any = redis.get(_PUSH_BYTES)
    return int(used or 0)


@cache
def _script(name: str) -> tuple[str, str]:
    """A script, and the digest by which Redis knows it once it has run."""
    text = files("worker.redis_store").joinpath(f"intake_{name.removesuffix(_IF_FULL)}.lua").read_text(encoding="utf-8")
    if name.endswith(_IF_FULL):
        text = f"#!lua flags=allow-oom\n{text}"
    return text, sha1(text.encode(), usedforsecurity=False).hexdigest()


def take(redis: Redis, place: str, *, accounts: Collection[str] = (), now: datetime) -> dict[bytes, bytes]:
    """The oldest of what waits there, under each id, for this worker alone to bring to the ledger and to remove.

    Before it what was parked there for one of these accounts, or is valid no longer.
    As it lies there: somebody may have put it there by hand, and it need be neither a message nor a text.
    """
    until = (now + LOST_AFTER).timestamp()
    keys = (*_keys(place), _parked(place))
    args: list[str | float] = [until, TAKEN_AT_ONCE, BYTES_AT_ONCE, now.timestamp(), *accounts]
    found: Any = redis.eval(_script("take")[0], len(keys), *keys, *args)
    return dict(zip(found[::2], found[1::2], strict=True))


def read(place: str, item_id: bytes, item: bytes) -> Message:
    """The message that an item of that place is. Raises Refused with every fault."""
    if item.startswith(_FOREIGN):
        raise Refused(_faults(item[len(_FOREIGN) :].partition(b"\n")[0]))
    message = from_json(item)
    faults = []
    if message.id.encode() != item_id:
        faults.append(Fault("id", "is not the id that it lies under in the intake; `SmsClient` puts it there"))
    if message.lane != place:
        faults.append(Fault("lane", f"{message.lane!r} lies in the intake of {place}; `SmsClient` puts it there"))
    if faults:
        raise Refused(faults)
    return message


def give_back(redis: Redis, place: str, *, now: datetime) -> int:
    """Has wait again what was given to a worker that was lost with it, up to GIVEN_BACK_AT_ONCE.

    How much waits there now; what is parked counts as one for each account.
    """
    _, waiting, taken = _keys(place)
    keys = (waiting, taken, _stuck(place), _parked(place))
    since = (now - LOST_AFTER).timestamp()
    for _ in range(GIVEN_BACK_AT_ONCE // TAKEN_AT_ONCE):
        found: Any = redis.eval(_GIVE_BACK, len(keys), *keys, now.timestamp(), TAKEN_AT_ONCE, since)
        given_back, waits = found
        if given_back < TAKEN_AT_ONCE:
            break
    return int(waits)


def find(redis: Redis, message_id: str) -> Message | None:
    """The message of that id, if it lies in the intake and can be read; what cannot be, a worker is about to refuse."""
    for lane in LANES:
        item: Any = redis.hget(_keys(lane)[0], message_id)
        if item:
            with suppress(Refused):
                return read(lane, message_id.encode(), item)
    return None


@dataclass(frozen=True, slots=True)
class KeptPush:
    """A push that lay here."""

    body: bytes
    source: str
    received_at: datetime


def _faults(told: bytes) -> list[Fault]:
    try:
        return [Fault(str(field), str(text)) for field, text in json.loads(told)]
    except (ValueError, TypeError, RecursionError):
        return [Fault("message", "is not JSON; `SmsClient` writes it")]


def payload(item: bytes) -> bytes:
    """What of an item came from outside."""
    return item.partition(b"\n")[2] if item.startswith(_FOREIGN) else item


def take_pushes(redis: Redis, *, now: datetime) -> Mapping[bytes, KeptPush]:
    """The oldest of the pushes that wait, under their ids. What is none is one with that body, to be quarantined."""
    return {push_id: _read_push(item, now) for push_id, item in take(redis, PUSHES, now=now).items()}


def _read_push(item: bytes, now: datetime) -> KeptPush:
    try:
        fields = json.loads(item)
        received_at = datetime.fromisoformat(fields["received_at"])
        if received_at.utcoffset() is None:
            raise ValueError("it has no time zone")
        return KeptPush(base64.b64decode(fields["body"]), str(fields["source"])[:64], received_at)
    except (ValueError, TypeError, LookupError, RecursionError) as why:
        log.warning(
            "something in the intake is no push, and is kept as one that cannot be read: %r", type(why).__name__
        )
        return KeptPush(item, "the intake", now)


def remove(redis: Redis, place: str, ids: Collection[str] | Collection[bytes]) -> None:
    """Takes out what the ledger has committed."""
    items, *orders = _keys(place)
    with redis.pipeline(transaction=True) as pipeline:
        pipeline.hdel(items, *ids)
        for order in orders:
            pipeline.zrem(order, *ids)
        pipeline.delete(_stuck(place))
        pipeline.execute()


def remove_pushes(redis: Redis, ids: Collection[bytes]) -> None:
    """Takes out the pushes that the ledger has committed, and gives back their room."""
    items, waiting, taken = _keys(PUSHES)
    redis.eval(_REMOVE_PUSHES, 5, items, waiting, taken, _PUSH_BYTES, _stuck(PUSHES), PUSH_OVERHEAD, *ids)


def depth(redis: Redis) -> dict[str, int]:
    """How much lies in each place."""
    with redis.pipeline(transaction=False) as pipeline:
        for place in PLACES:
            pipeline.hlen(_keys(place)[0])
        return dict(zip(PLACES, pipeline.execute(), strict=True))


def oldest(redis: Redis) -> datetime | None:
    """Since when the one waits that has waited longest; where nobody could take it to the ledger, since they tried in vain.

    What is parked does not count: no worker that there is could take it.
    """
    with redis.pipeline(transaction=False) as pipeline:
        for place in PLACES:
            _, waiting, taken = _keys(place)
            pipeline.zrange(waiting, 0, 0, withscores=True)
            pipeline.zcard(taken)
            pipeline.get(_stuck(place))
        answers = pipeline.execute()
    found: list[float] = []
    for first, taken, stuck in zip(answers[::3], answers[1::3], answers[2::3], strict=True):
        found += [first[0][1]] if first else []
        # It stays when what was given out in vain is parked later, where nothing is taken out.
        found += [float(stuck)] if stuck and (first or taken) else []
    return datetime.fromtimestamp(min(found), UTC) if found else None


def park(redis: Redis, place: str, account: str, valid_until: Mapping[bytes, datetime]) -> None:
    """Leaves what was taken there, under these ids, to the workers that have its account, for as long as it is valid."""
    args = [arg for item_id, until in valid_until.items() for arg in (item_id, until.timestamp())]
    index = _parked(place)
    redis.eval(_PARK, 3, _keys(place)[2], f"{index}:{account}", index, account, *args)


def parked(redis: Redis) -> dict[str, int]:
    """How many messages wait for a worker that has their account, by its name."""
    found: Counter[str] = Counter()
    for index in map(_parked, LANES):
        names: Any = redis.zrange(index, 0, -1)
        with redis.pipeline(transaction=False) as pipeline:
            for name in names:
                pipeline.zcard(f"{index}:{name.decode()}")
            for name, count in zip(names, pipeline.execute(), strict=True):
                found[name.decode()] += count
    return dict(found)


def parked_until(redis: Redis, message: Message) -> datetime | None:
    """When a message ends that waits for a worker that has its account; None where it waits for no such worker."""
    until: Any = redis.zscore(f"{_parked(message.lane)}:{message.account}", message.id)
    return None if until is None else datetime.fromtimestamp(until, UTC)

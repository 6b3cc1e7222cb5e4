"""The intake: where a message lies in Redis until the ledger has it, so that a task that is lost takes nothing with it.

Each lane has a place, and so have pushes that came while the ledger was away. A place is a hash of items by id, the order in
which they wait, and those that were given to a worker, until when. An item is removed only once the ledger has committed it.
A clock decides nothing but how soon an item that was given out and not removed waits again.
"""

import json
from collections.abc import Collection, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any

from redis import Redis

from worker.domain.key import KEY_DAYS, KeyUsed, Use, day_of, id_of_key, named, spot, used
from worker.domain.lane import LANES
from worker.domain.message import Fault, Message, Refused
from worker.domain.message_json import from_json, to_json
from worker.redis_store.intake_keys import PLACES, keys_of, parked_key, stuck_key
from worker.redis_store.scripts import load, run, run_known

LOST_AFTER = timedelta(seconds=5)
"""After this long without a removal, an item waits again: its worker was lost, or waits for the ledger."""
TAKEN_AT_ONCE = 500
GIVEN_BACK_AT_ONCE = 100 * TAKEN_AT_ONCE
BYTES_AT_ONCE = 500_000
"""What one worker is given: enough to make its commit worth it, and little enough to be kept in a moment."""

_FOREIGN = b"foreign "
"""What an item of `put_foreign` begins with; no JSON does."""
_KEYS, _KEY_DAYS = "sms:keys", "sms:key-days"


def put(redis: Redis, messages: Sequence[Message], *, now: datetime, if_full: bool = False) -> list[str]:
    """Puts the messages in, all or none; their ids. One whose id lies there already, or whose key was used for it, stays as it is.

    `if_full` is for messages that have just been taken out of Redis: it has room for them, also where it is full.
    Raises KeyUsed, and puts none in, where a key was used for another message.
    """
    return _put_or_look(redis, messages, now, script=load("intake_put", if_full=if_full))


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
    uses = run_known(redis, script or load("intake_put"), (_KEY_DAYS,), *args)
    firsts = [Use.unpack(use) if use else None for use in uses]
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
    item = _FOREIGN + json.dumps([[fault.field, fault.text] for fault in faults]).encode() + b"\n" + payload
    items, waiting, _ = keys_of(place)
    run(redis, load("intake_put_foreign"), (items, waiting), item_id, item, now.timestamp())


def take(redis: Redis, place: str, *, accounts: Collection[str] = (), now: datetime) -> dict[bytes, bytes]:
    """The oldest of what waits there, under each id, for this worker alone to bring to the ledger and to remove.

    Before it what was parked there for one of these accounts, or is valid no longer.
    As it lies there: somebody may have put it there by hand, and it need be neither a message nor a text.
    """
    until = (now + LOST_AFTER).timestamp()
    keys = (*keys_of(place), parked_key(place))
    args: list[str | float] = [until, TAKEN_AT_ONCE, BYTES_AT_ONCE, now.timestamp(), *accounts]
    taken = run(redis, load("intake_take"), keys, *args)
    return dict(zip(taken[::2], taken[1::2], strict=True))


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
    _, waiting, taken = keys_of(place)
    keys = (waiting, taken, stuck_key(place), parked_key(place))
    since = (now - LOST_AFTER).timestamp()
    for _ in range(GIVEN_BACK_AT_ONCE // TAKEN_AT_ONCE):
        given_back, waits = run(redis, load("intake_give_back"), keys, now.timestamp(), TAKEN_AT_ONCE, since)
        if given_back < TAKEN_AT_ONCE:
            break
    return int(waits)


def find(redis: Redis, message_id: str) -> Message | None:
    """The message of that id, if it lies in the intake and can be read; what cannot be, a worker is about to refuse."""
    for lane in LANES:
        item: Any = redis.hget(keys_of(lane)[0], message_id)
        if item:
            with suppress(Refused):
                return read(lane, message_id.encode(), item)
    return None


def _faults(written: bytes) -> list[Fault]:
    try:
        return [Fault(str(field), str(text)) for field, text in json.loads(written)]
    except (ValueError, TypeError, RecursionError):
        return [Fault("message", "is not JSON; `SmsClient` writes it")]


def payload(item: bytes) -> bytes:
    """What of an item came from outside."""
    return item.partition(b"\n")[2] if item.startswith(_FOREIGN) else item


def remove(redis: Redis, place: str, ids: Collection[str] | Collection[bytes]) -> None:
    """Takes out what the ledger has committed."""
    items, *orders = keys_of(place)
    with redis.pipeline(transaction=True) as pipeline:
        pipeline.hdel(items, *ids)
        for order in orders:
            pipeline.zrem(order, *ids)
        pipeline.delete(stuck_key(place))
        pipeline.execute()


def depth(redis: Redis) -> dict[str, int]:
    """How much lies in each place."""
    with redis.pipeline(transaction=False) as pipeline:
        for place in PLACES:
            pipeline.hlen(keys_of(place)[0])
        return dict(zip(PLACES, pipeline.execute(), strict=True))


def oldest(redis: Redis) -> datetime | None:
    """Since when the one waits that has waited longest; where nobody could take it to the ledger, since they tried in vain.

    What is parked does not count: no worker that there is could take it.
    """
    with redis.pipeline(transaction=False) as pipeline:
        for place in PLACES:
            _, waiting, taken = keys_of(place)
            pipeline.zrange(waiting, 0, 0, withscores=True)
            pipeline.zcard(taken)
            pipeline.get(stuck_key(place))
        answers = pipeline.execute()
    found: list[float] = []
    for first, taken, stuck in zip(answers[::3], answers[1::3], answers[2::3], strict=True):
        found += [first[0][1]] if first else []
        # It stays when what was given out in vain is parked later, where nothing is taken out.
        found += [float(stuck)] if stuck and (first or taken) else []
    return datetime.fromtimestamp(min(found), UTC) if found else None

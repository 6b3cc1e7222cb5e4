"""The intake keeps a message in Redis until the ledger has it: a lost Celery task loses no message.

Each lane has a place, and so have pushes that came while the ledger was away. A place is a hash of items by id, and two
sorted sets of ids. One has the ids that wait. The other has the ids that a worker has taken, each with the time when it
waits again. An item is removed only once the ledger has committed it. Clocks decide only how soon an item that was
taken, and not removed, waits again.
"""

import json
from collections.abc import Collection, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any

from redis import Redis

from worker.domain.key import (
    KEY_DAYS,
    KeyRecord,
    KeyUsed,
    bucket_and_name,
    day_of,
    id_of_key,
    reused_key_fault,
    with_key_id,
)
from worker.domain.lane import LANES
from worker.domain.message import Fault, Message, Refused
from worker.domain.message_json import from_json, to_json
from worker.redis_store.intake_keys import PLACES, keys_of, parked_key, stuck_key
from worker.redis_store.scripts import load, run, run_known

LOST_AFTER = timedelta(seconds=5)
"""An item that was taken and not removed waits again after this time: its worker was lost, or waits for the ledger."""
TAKEN_AT_ONCE = 500
REQUEUED_AT_ONCE = 100 * TAKEN_AT_ONCE
BYTES_AT_ONCE = 500_000
"""The most that one worker takes at a time: enough to be worth a commit, and few enough for a short transaction."""

_FOREIGN = b"foreign "
"""An item of `put_foreign` begins with this; no JSON does."""
_KEYS, _KEY_DAYS = "sms:keys", "sms:key-days"


def put(redis: Redis, messages: Sequence[Message], *, now: datetime, if_full: bool = False) -> list[str]:
    """Puts the messages in, all or none, and returns their ids in the same order.

    It leaves a message as it is whose id is there already, or whose key was used for the same message. `if_full` is for
    messages that were just taken out of Redis: a full Redis has room for them too.
    Raises KeyUsed, and puts none in, if a key was used for another message. Raises redis' exceptions.
    """
    return _put_or_check(redis, messages, now, script=load("intake_put", if_full=if_full))


def check_keys(redis: Redis, messages: Sequence[Message], *, now: datetime) -> None:
    """Raises KeyUsed if the key of a message was used for another one. Puts nothing in. Raises redis' exceptions."""
    _put_or_check(redis, messages, now, script=None)


def _put_or_check(redis: Redis, messages: Sequence[Message], now: datetime, *, script: str | None) -> list[str]:
    day = day_of(now)
    messages = [with_key_id(message, day) for message in messages]
    args: list[str | bytes | float] = [now.timestamp(), KEY_DAYS, int(script is not None)]
    for message in messages:
        args += (message.lane, message.id, to_json(message)) if script else ("", "", "")
        args += _key_args(message, day)
    records = run_known(redis, script or load("intake_put"), (_KEY_DAYS,), *args)
    firsts = [KeyRecord.unpack(record) if record else None for record in records]
    faults = {
        position: reused_key_fault(message.key, first, this)
        for position, (message, first) in enumerate(zip(messages, firsts, strict=True))
        if message.key and first and first.digest != (this := KeyRecord.for_message(message, day)).digest
    }
    if faults:
        raise KeyUsed(faults)
    return [
        id_of_key(message.key, first.day) if message.key and first else message.id
        for message, first in zip(messages, firsts, strict=True)
    ]


def _key_args(message: Message, day: int) -> tuple[str | bytes, ...]:
    if message.key is None:
        return "", "", ""
    bucket, name = bucket_and_name(message.key)
    return f"{_KEYS}:{bucket}", name, KeyRecord.for_message(message, day).pack()


def keep_keys(redis: Redis, days: int) -> None:
    """Sets for how many days keys are kept, also keys that were used before."""
    redis.set(_KEY_DAYS, days)


def put_foreign(
    redis: Redis, place: str, item_id: str, payload: bytes, faults: Sequence[Fault], *, now: datetime
) -> None:
    """Puts in a payload that no client wrote and that cannot be sent. A worker keeps it as refused for these faults.

    `place` is a lane. Raises redis' exceptions.
    """
    item = _FOREIGN + json.dumps([[fault.field, fault.text] for fault in faults]).encode() + b"\n" + payload
    items, waiting, _ = keys_of(place)
    run(redis, load("intake_put_foreign"), (items, waiting), item_id, item, now.timestamp())


def take(redis: Redis, place: str, *, accounts: Collection[str] = (), now: datetime) -> dict[bytes, bytes]:
    """Takes the oldest items that wait in a place, by id, for this worker alone to bring to the ledger and remove.

    Before these come items that are parked for one of `accounts`, or whose validity has run out. Items are as they lie
    in Redis: a person may have written one by hand, so it need be neither a message nor a text.
    At most TAKEN_AT_ONCE items, and about BYTES_AT_ONCE bytes. Raises redis' exceptions.
    """
    until = (now + LOST_AFTER).timestamp()
    keys = (*keys_of(place), parked_key(place))
    args: list[str | float] = [until, TAKEN_AT_ONCE, BYTES_AT_ONCE, now.timestamp(), *accounts]
    taken = run(redis, load("intake_take"), keys, *args)
    return dict(zip(taken[::2], taken[1::2], strict=True))


def read(place: str, item_id: bytes, item: bytes) -> Message:
    """Reads an item of a place as a message. Raises Refused with every fault."""
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


def requeue_lost(redis: Redis, place: str, *, now: datetime) -> int:
    """Lets the items of lost workers wait again, at most REQUEUED_AT_ONCE.

    Returns how many items wait there now. The parked items of an account count as one. Raises redis' exceptions.
    """
    _, waiting, taken = keys_of(place)
    keys = (waiting, taken, stuck_key(place), parked_key(place))
    since = (now - LOST_AFTER).timestamp()
    for _ in range(REQUEUED_AT_ONCE // TAKEN_AT_ONCE):
        requeued, depth_now = run(redis, load("intake_requeue_lost"), keys, now.timestamp(), TAKEN_AT_ONCE, since)
        if requeued < TAKEN_AT_ONCE:
            break
    return int(depth_now)


def find(redis: Redis, message_id: str) -> Message | None:
    """The message with this id, if the intake has it; None also for an unreadable one, which a worker will refuse."""
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
    """The part of an item that came from outside."""
    return item.partition(b"\n")[2] if item.startswith(_FOREIGN) else item


def remove(redis: Redis, place: str, ids: Collection[str] | Collection[bytes]) -> None:
    """Removes the items that the ledger has committed. Raises redis' exceptions."""
    items, *orders = keys_of(place)
    with redis.pipeline(transaction=True) as pipeline:
        pipeline.hdel(items, *ids)
        for order in orders:
            pipeline.zrem(order, *ids)
        pipeline.delete(stuck_key(place))
        pipeline.execute()


def depth(redis: Redis) -> dict[str, int]:
    """How many items each place has, waiting, taken or parked. Raises redis' exceptions."""
    with redis.pipeline(transaction=False) as pipeline:
        for place in PLACES:
            pipeline.hlen(keys_of(place)[0])
        return dict(zip(PLACES, pipeline.execute(), strict=True))


def oldest(redis: Redis) -> datetime | None:
    """Since when the oldest item waits; None where none does. Raises redis' exceptions.

    Where workers took items in vain, it is the time since which they did. Parked items do not count, because no running
    worker could take them.
    """
    with redis.pipeline(transaction=False) as pipeline:
        for place in PLACES:
            _, waiting, taken = keys_of(place)
            pipeline.zrange(waiting, 0, 0, withscores=True)
            pipeline.zcard(taken)
            pipeline.get(stuck_key(place))
        answers = pipeline.execute()
    times: list[float] = []
    for first, taken, stuck in zip(answers[::3], answers[1::3], answers[2::3], strict=True):
        times += [first[0][1]] if first else []
        # The key of `stuck` outlives items that are parked later, for nothing is removed then.
        times += [float(stuck)] if stuck and (first or taken) else []
    return datetime.fromtimestamp(min(times), UTC) if times else None

"""The intake: where a message lies in Redis until the ledger has it, so that a task that is lost takes nothing with it.

Each lane has a hash of messages by id and a sorted set that says since when each lies there; a push that came while the
ledger was away lies in a pair of its own. What is put in is removed only once the ledger has committed it.
"""

import base64
import json
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from redis import Redis

from worker.domain.lane import LANES
from worker.domain.message import Message, to_json

STRAY_AFTER = timedelta(seconds=5)
"""What has lain here this long has lost its task, or its queue is long."""

PUSHES = "push"
"""The place for pushes; each lane is a place of its own name."""
PLACES = (*LANES, PUSHES)

_ACCOUNTS = "sms:accounts"


def _keys(place: str) -> tuple[str, str]:
    return f"sms:intake:{place}", f"sms:intake:{place}:since"


def put(redis: Redis, messages: Iterable[Message], *, now: datetime) -> None:
    """Puts the messages in, all or none; one whose id lies there already stays as it is."""
    with redis.pipeline(transaction=True) as pipeline:
        for message in messages:
            _put(pipeline, message.lane, message.id, to_json(message), now)
        pipeline.execute()


def put_push(redis: Redis, push_id: str, body: bytes, *, source: str, now: datetime) -> None:
    """Puts a raw push in, for the time when the ledger is back."""
    text = json.dumps({"body": base64.b64encode(body).decode(), "source": source, "received_at": now.isoformat()})
    with redis.pipeline(transaction=True) as pipeline:
        _put(pipeline, PUSHES, push_id, text, now)
        pipeline.execute()


def _put(pipeline: Any, place: str, item_id: str, text: str, now: datetime) -> None:
    items, since = _keys(place)
    pipeline.hsetnx(items, item_id, text)
    pipeline.zadd(since, {item_id: now.timestamp()}, nx=True)


def read(redis: Redis, place: str, ids: Sequence[str]) -> dict[str, str]:
    """The text of each item that still lies there, under its id."""
    found: list[Any] = redis.hmget(_keys(place)[0], list(ids))
    return {item_id: text.decode() for item_id, text in zip(ids, found, strict=True) if text is not None}


@dataclass(frozen=True, slots=True)
class KeptPush:
    """A push that lay here."""

    body: bytes
    source: str
    received_at: datetime


def read_push(redis: Redis, push_id: str) -> KeptPush | None:
    """The push of that id, if it still lies there."""
    text = read(redis, PUSHES, [push_id]).get(push_id)
    if text is None:
        return None
    fields = json.loads(text)
    received_at = datetime.fromisoformat(fields["received_at"])
    return KeptPush(base64.b64decode(fields["body"]), fields["source"], received_at)


def remove(redis: Redis, place: str, ids: Collection[str]) -> None:
    """Takes out what the ledger has committed."""
    items, since = _keys(place)
    with redis.pipeline(transaction=True) as pipeline:
        pipeline.hdel(items, *ids)
        pipeline.zrem(since, *ids)
        pipeline.execute()


def strays(redis: Redis, place: str, *, now: datetime, most: int) -> list[str]:
    """The ids of what has lain there for more than STRAY_AFTER, the oldest first; each is given out once in that time."""
    _, since = _keys(place)
    longest = (now - STRAY_AFTER).timestamp()
    found: list[Any] = redis.zrangebyscore(since, "-inf", longest, start=0, num=most)
    ids = [item_id.decode() for item_id in found]
    if ids:
        redis.zadd(since, dict.fromkeys(ids, now.timestamp()), xx=True)
    return ids


def depth(redis: Redis) -> dict[str, int]:
    """How much lies in each place."""
    with redis.pipeline(transaction=False) as pipeline:
        for place in PLACES:
            pipeline.zcard(_keys(place)[1])
        return dict(zip(PLACES, pipeline.execute(), strict=True))


def oldest(redis: Redis) -> datetime | None:
    """Since when the one lies here that has waited longest for its task, or for the next one after a task was lost."""
    with redis.pipeline(transaction=False) as pipeline:
        for place in PLACES:
            pipeline.zrange(_keys(place)[1], 0, 0, withscores=True)
        found: list[Any] = [first[0][1] for first in pipeline.execute() if first]
    return datetime.fromtimestamp(min(found), UTC) if found else None


def announce_accounts(redis: Redis, names: Collection[str]) -> None:
    """Tells clients which accounts there are, so that they can refuse an unknown one before anything is enqueued."""
    with redis.pipeline(transaction=True) as pipeline:
        pipeline.delete(_ACCOUNTS)
        pipeline.sadd(_ACCOUNTS, *names)
        pipeline.execute()


def known_accounts(redis: Redis) -> frozenset[str] | None:
    """The names of the accounts; None where no worker has told them yet."""
    names: Any = redis.smembers(_ACCOUNTS)
    return frozenset(name.decode() for name in names) or None

"""The intake of pushes: where a push lies while the ledger is away."""

import base64
import json
import logging
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from redis import Redis

from worker.redis_store import intake
from worker.redis_store.intake_keys import PUSHES, keys_of, stuck_key
from worker.redis_store.scripts import load, run

log = logging.getLogger(__name__)

MOST_PUSH_BYTES = 64 * 1024 * 1024
"""Of pushes, while the ledger is away: some 80,000 that have one report each, more where they have many. Messages keep the rest of Redis."""
PUSH_OVERHEAD = 500
"""Bytes that a push of a few words takes up in Redis."""
_PUSH_BYTES = "sms:intake:push:bytes"


@dataclass(frozen=True, slots=True)
class KeptPush:
    """A push that lay here."""

    body: bytes
    source: str
    received_at: datetime


def put(redis: Redis, push_id: str, body: bytes, *, source: str, now: datetime) -> bool:
    """Puts a raw push in, for the time when the ledger is back. False where pushes have MOST_PUSH_BYTES there already."""
    text = json.dumps({"body": base64.b64encode(body).decode(), "source": source, "received_at": now.isoformat()})
    items, waiting, _ = keys_of(PUSHES)
    args = push_id, text, now.timestamp(), MOST_PUSH_BYTES, PUSH_OVERHEAD
    return bool(run(redis, load("intake_put_push"), (items, waiting, _PUSH_BYTES), *args))


def size(redis: Redis) -> int:
    """What the pushes that lie here take up."""
    used: Any = redis.get(_PUSH_BYTES)
    return int(used or 0)


def take(redis: Redis, *, now: datetime) -> Mapping[bytes, KeptPush]:
    """The oldest of the pushes that wait, under their ids. What is none is one with that body, to be quarantined."""
    return {push_id: _read(item, now) for push_id, item in intake.take(redis, PUSHES, now=now).items()}


def _read(item: bytes, now: datetime) -> KeptPush:
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


def remove(redis: Redis, ids: Collection[bytes]) -> None:
    """Takes out the pushes that the ledger has committed, and gives back their room."""
    items, waiting, taken = keys_of(PUSHES)
    keys = items, waiting, taken, _PUSH_BYTES, stuck_key(PUSHES)
    run(redis, load("intake_remove_pushes"), keys, PUSH_OVERHEAD, *ids)

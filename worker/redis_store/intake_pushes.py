"""The intake of pushes keeps a push in Redis while the ledger is away."""

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
"""The bytes of pushes that Redis keeps while the ledger is away. Messages keep the rest of Redis.

They are some 80,000 pushes with one report each, and more reports where pushes have many.
"""
PUSH_OVERHEAD = 500
"""The bytes that a push takes up in Redis beside its own."""
_PUSH_BYTES = "sms:intake:push:bytes"


@dataclass(frozen=True, slots=True)
class KeptPush:
    """A raw push, the address that sent it, and the aware time when it came."""

    body: bytes
    source: str
    received_at: datetime


def put(redis: Redis, push_id: str, body: bytes, *, source: str, now: datetime) -> bool:
    """Puts a raw push in until the ledger is back. Returns False, and keeps nothing, beyond MOST_PUSH_BYTES of pushes.

    Raises redis' exceptions.
    """
    text = json.dumps({"body": base64.b64encode(body).decode(), "source": source, "received_at": now.isoformat()})
    items, waiting, _ = keys_of(PUSHES)
    args = push_id, text, now.timestamp(), MOST_PUSH_BYTES, PUSH_OVERHEAD
    return bool(run(redis, load("intake_put_push"), (items, waiting, _PUSH_BYTES), *args))


def size(redis: Redis) -> int:
    """The bytes that the kept pushes take up. Raises redis' exceptions."""
    total: Any = redis.get(_PUSH_BYTES)
    return int(total or 0)


def take(redis: Redis, *, now: datetime) -> Mapping[bytes, KeptPush]:
    """Takes the oldest pushes that wait, by id. Raises redis' exceptions.

    An item that is not a push becomes a push with that body, so that it is quarantined.
    """
    return {push_id: _read(item, now) for push_id, item in intake.take(redis, PUSHES, now=now).items()}


def _read(item: bytes, now: datetime) -> KeptPush:
    try:
        fields = json.loads(item)
        received_at = datetime.fromisoformat(fields["received_at"])
        if received_at.utcoffset() is None:
            raise ValueError("it has no time zone")
        return KeptPush(base64.b64decode(fields["body"]), str(fields["source"])[:64], received_at)
    except (ValueError, TypeError, LookupError, RecursionError) as error:
        log.warning(
            "an item in the intake is not a push; it is kept as a push that cannot be read: %r", type(error).__name__
        )
        return KeptPush(item, "the intake", now)


def remove(redis: Redis, ids: Collection[bytes]) -> None:
    """Removes the pushes that the ledger has committed, and frees their room. Raises redis' exceptions."""
    items, waiting, taken = keys_of(PUSHES)
    keys = items, waiting, taken, _PUSH_BYTES, stuck_key(PUSHES)
    run(redis, load("intake_remove_pushes"), keys, PUSH_OVERHEAD, *ids)

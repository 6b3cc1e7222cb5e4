"""Parked messages: no worker serves their account yet. The intake keeps them until one does, or until they expire."""

from collections import Counter
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from redis import Redis

from worker.domain.lane import LANES
from worker.domain.message import Message
from worker.redis_store.intake_keys import keys_of, parked_key
from worker.redis_store.scripts import load, run


def park(redis: Redis, place: str, account: str, valid_until: Mapping[bytes, datetime]) -> None:
    """Leaves items that this worker took to the workers that serve their account.

    `valid_until` has the ids, each with the time until which another worker may take it. Raises redis' exceptions.
    """
    args = [arg for item_id, until in valid_until.items() for arg in (item_id, until.timestamp())]
    index = parked_key(place)
    run(redis, load("intake_park"), (keys_of(place)[2], f"{index}:{account}", index), account, *args)


def counts(redis: Redis) -> dict[str, int]:
    """How many messages wait for a worker that serves their account, by the account. Raises redis' exceptions."""
    totals: Counter[str] = Counter()
    for index in map(parked_key, LANES):
        names: Any = redis.zrange(index, 0, -1)
        with redis.pipeline(transaction=False) as pipeline:
            for name in names:
                pipeline.zcard(f"{index}:{name.decode()}")
            for name, count in zip(names, pipeline.execute(), strict=True):
                totals[name.decode()] += count
    return dict(totals)


def until(redis: Redis, message: Message) -> datetime | None:
    """The time when a parked message expires; None where the message is not parked. Raises redis' exceptions."""
    ends: Any = redis.zscore(f"{parked_key(message.lane)}:{message.account}", message.id)
    return None if ends is None else datetime.fromtimestamp(ends, UTC)

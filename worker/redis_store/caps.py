"""The caps of the lanes limit how often one mobile is sent to, in all processes together.

The windows and their scripts are those of the `limits` library. Its moving window keeps each time; its cheaper windows
let nearly twice as many through around an edge. The library's limiters ask Redis for one window at a time. This module
runs the scripts for many windows in one round trip, and for the time that it is given.
"""

import logging
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime
from hashlib import sha1
from typing import Any

from limits import RateLimitItemPerSecond
from limits.storage import RedisStorage
from redis import Redis
from redis.exceptions import RedisError

from worker.domain.caps import Cap, CapKey
from worker.domain.lane import Lane

log = logging.getLogger(__name__)

AT_ONCE = 1000
"""Windows in one round trip. Redis serves nobody else for the few milliseconds that they take."""


def room(redis: Redis, lanes: Mapping[str, Lane], wanted: Collection[CapKey], *, now: datetime) -> dict[CapKey, int]:
    """How often each mobile may still be sent to now, by all of its caps. Mobiles of lanes without caps are left out.

    It takes one round trip for each AT_ONCE windows. Raises redis' exceptions: then nothing is known.
    """
    asked = [(capped, cap) for capped in wanted for cap in lanes[capped.lane].caps]
    windows = _run(
        redis,
        RedisStorage.SCRIPT_MOVING_WINDOW,
        [(_key(capped, cap), now.timestamp() - cap.seconds, cap.times) for capped, cap in asked],
    )
    rooms: dict[CapKey, int] = {}
    for (capped, cap), window in zip(asked, windows, strict=True):
        room_of_cap = cap.times - window[1] if window else cap.times
        rooms[capped] = min(room_of_cap, rooms.get(capped, room_of_cap))
    return rooms


def count(redis: Redis, lanes: Mapping[str, Lane], sent: Sequence[CapKey], *, now: datetime) -> int:
    """Counts each mobile as often as it is in `sent`. Returns how many of them found a full window.

    A full window does not count them. It takes one round trip for each AT_ONCE windows. Raises redis' exceptions: then
    it is not known how many are counted.
    """
    asked = [(index, capped, cap) for index, capped in enumerate(sent) for cap in lanes[capped.lane].caps]
    answers = _run(
        redis,
        RedisStorage.SCRIPT_ACQUIRE_MOVING_WINDOW,
        [(_key(capped, cap), now.timestamp(), cap.times, cap.seconds, 1) for _, capped, cap in asked],
    )
    return len({index for (index, _, _), fits in zip(asked, answers, strict=True) if not fits})


def counter(
    redis: Redis, lanes: Mapping[str, Lane], clock: Callable[[], datetime]
) -> Callable[[Sequence[CapKey]], None]:
    """Returns a function that counts and never raises: the ledger has the recipients already, and they are sent to."""

    def count_sent(sent: Sequence[CapKey]) -> None:
        try:
            beyond = count(redis, lanes, sent, now=clock())
        except RedisError as error:
            log.warning("%d recipients are sent to and not counted by the caps: %s", len(sent), error)
            return
        if beyond:
            log.warning(
                "%d recipients are sent to beyond a cap: several messages came to them at the same moment", beyond
            )

    return count_sent


def _key(capped: CapKey, cap: Cap) -> str:
    return f"sms:{RateLimitItemPerSecond(cap.times, cap.seconds, 'cap').key_for(*capped)}"


def _run(redis: Redis, script: bytes, calls: Sequence[tuple[Any, ...]]) -> list[Any]:
    """The script's answer to each of `calls`, which are its key and its arguments."""
    sha = sha1(script, usedforsecurity=False).hexdigest()
    answers: list[Any] = []
    for start in range(0, len(calls), AT_ONCE):
        with redis.pipeline(transaction=False) as pipeline:
            pipeline.script_load(script)  # in the same round trip, for an emptied Redis has forgotten it
            for call in calls[start : start + AT_ONCE]:
                pipeline.evalsha(sha, 1, *call)
            answers += pipeline.execute()[1:]
    return answers

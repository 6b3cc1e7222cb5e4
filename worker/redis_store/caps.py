"""The caps of the lanes: how often one mobile is sent to, in all processes together.

The windows are those of the `limits` library, and so are the scripts that read and write them: its moving window, which keeps each
time, for its cheaper ones let nearly twice as many through around the edge of one. Its limiters ask Redis for one window
at a time; here the scripts are run for many in one round trip, and for the time that is given.
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

from worker.domain.caps import Cap, Capped
from worker.domain.lane import Lane

log = logging.getLogger(__name__)

AT_ONCE = 1000
"""Windows in one round trip: nobody else is served by Redis for the few milliseconds that they take."""


def room(redis: Redis, lanes: Mapping[str, Lane], wanted: Collection[Capped], *, now: datetime) -> dict[Capped, int]:
    """How often each may still be sent to now, by all of its caps; those of lanes without caps are left out.

    A round trip for each AT_ONCE windows. Raises redis' exceptions: without Redis it is not known.
    """
    asked = [(capped, cap) for capped in wanted for cap in lanes[capped.lane].caps]
    found = _run(
        redis,
        RedisStorage.SCRIPT_MOVING_WINDOW,
        [(_key(capped, cap), now.timestamp() - cap.seconds, cap.times) for capped, cap in asked],
    )
    left: dict[Capped, int] = {}
    for (capped, cap), window in zip(asked, found, strict=True):
        of_cap = cap.times - window[1] if window else cap.times
        left[capped] = min(of_cap, left.get(capped, of_cap))
    return left


def count(redis: Redis, lanes: Mapping[str, Lane], sent: Sequence[Capped], *, now: datetime) -> int:
    """Counts each as often as it is in `sent`. How many came to a window that was full: it is not counted a second time there.

    A round trip for each AT_ONCE windows. Raises redis' exceptions: it is not known then how many are counted.
    """
    asked = [(place, capped, cap) for place, capped in enumerate(sent) for cap in lanes[capped.lane].caps]
    fitted = _run(
        redis,
        RedisStorage.SCRIPT_ACQUIRE_MOVING_WINDOW,
        [(_key(capped, cap), now.timestamp(), cap.times, cap.seconds, 1) for _, capped, cap in asked],
    )
    return len({place for (place, _, _), fits in zip(asked, fitted, strict=True) if not fits})


def counter(
    redis: Redis, lanes: Mapping[str, Lane], clock: Callable[[], datetime]
) -> Callable[[Sequence[Capped]], None]:
    """Returns `count` so that it never raises: what it counts is in the ledger, and will be sent."""

    def count_sent(sent: Sequence[Capped]) -> None:
        try:
            past = count(redis, lanes, sent, now=clock())
        except RedisError as why:
            log.warning("%d recipients are sent to and not counted by the caps: %s", len(sent), why)
            return
        if past:
            log.warning(
                "%d recipients are sent to beyond a cap: several messages came to them at the same moment", past
            )

    return count_sent


def _key(capped: Capped, cap: Cap) -> str:
    return f"sms:{RateLimitItemPerSecond(cap.times, cap.seconds, 'cap').key_for(*capped)}"


def _run(redis: Redis, script: bytes, calls: Sequence[tuple[Any, ...]]) -> list[Any]:
    """What the script answers to each of the calls: its key and its arguments."""
    sha = sha1(script, usedforsecurity=False).hexdigest()
    answers: list[Any] = []
    for start in range(0, len(calls), AT_ONCE):
        with redis.pipeline(transaction=False) as pipeline:
            pipeline.script_load(script)  # in the same round trip: an emptied Redis has forgotten it
            for call in calls[start : start + AT_ONCE]:
                pipeline.evalsha(sha, 1, *call)
            answers += pipeline.execute()[1:]
    return answers

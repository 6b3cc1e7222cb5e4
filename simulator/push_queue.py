"""The queues of the pusher: items that wait until they are due, and pushes that wait for their next try."""

import asyncio
from collections import deque
from dataclasses import dataclass, field
from random import Random
from typing import TypeVar

from simulator.push_xml import Batch, Reply, Report

SHUFFLE_WINDOW = 1000

T = TypeVar("T")
Queue = deque[tuple[float, T]]


@dataclass(slots=True, eq=False)
class Push:
    """One body on its way. `acknowledged` counts the tries that read SUCCESS."""

    batch: Batch
    body: bytes
    attempts: int = 0
    acknowledged: int = 0
    settled: asyncio.Event = field(default_factory=asyncio.Event)


@dataclass(frozen=True, slots=True)
class PushQueue:
    """Each queue has one delay, so its head is always due first.

    Times are seconds of one clock, which the caller reads.
    """

    tries: Queue[Push] = field(default_factory=deque)
    reports: Queue[Report] = field(default_factory=deque)
    replies: Queue[Reply] = field(default_factory=deque)

    def take_try(self, now: float) -> Push | None:
        return self.tries.popleft()[1] if self.tries and self.tries[0][0] <= now else None

    def take_batch(self, now: float, limit: int | None, shuffled_by: Random | None) -> Batch | None:
        """At most `limit` items that are due, reports before replies. None if nothing is due."""
        return _take(self.reports, now, limit, shuffled_by) or _take(self.replies, now, limit, shuffled_by) or None

    def seconds_to_next(self, now: float) -> float | None:
        heads = [queue[0][0] for queue in (self.tries, self.reports, self.replies) if queue]
        return max(min(heads) - now, 0) if heads else None


def _take(queue: Queue[T], now: float, limit: int | None, shuffled_by: Random | None) -> tuple[T, ...]:
    limit = len(queue) if limit is None else limit
    # A shuffle looks further than one push. Otherwise items would only change places within it.
    most = limit if shuffled_by is None else max(limit, SHUFFLE_WINDOW)
    due: list[tuple[float, T]] = []
    while queue and len(due) < most and queue[0][0] <= now:
        due.append(queue.popleft())
    if shuffled_by is not None:
        shuffled_by.shuffle(due)
    queue.extendleft(reversed(due[limit:]))
    return tuple(item for _, item in due[:limit])

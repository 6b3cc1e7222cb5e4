"""Queues in Redis that no worker takes from. A task that was sent to a misspelt queue would stay there for ever."""

import json
import time
from collections import Counter
from dataclasses import dataclass
from typing import Any

from redis import Redis

from worker.domain.escape import escaped
from worker.domain.lane import QUEUES

OURS = "sms."
"""How the names of our queues and tasks begin."""
LOOKED_AT = 100
"""How many frames of a queue are looked at, the oldest first."""
KEYS_AT_ONCE = 1000
LOOKS_SECONDS = 5
NO_TASK = "no task"
WORKER = "worker"
"""The user of Redis (worker/redis_store/redis.acl) that `sms doctor` connects as, where there are users."""


@dataclass(frozen=True, slots=True)
class Strange:
    """A queue that no worker serves.

    `length` counts its frames, `tasks` the task names of its LOOKED_AT oldest frames.
    """

    name: str
    length: int
    tasks: Counter[str]

    @property
    def has_ours(self) -> bool:
        """Whether a task of ours is in it."""
        return any(task.startswith(OURS) for task in self.tasks)

    def __str__(self) -> str:
        tasks = ", ".join(f"{escaped(task)} {count}" for task, count in self.tasks.most_common(5))
        return f"{escaped(self.name)} {self.length} ({tasks})"


def strange_queues(redis: Redis) -> list[Strange]:
    """The strange queues whose name is like ours, or that have a task of ours. The search ends after LOOKS_SECONDS.

    The user `worker` may look at keys of our names alone, so it finds no task of ours in another app's queue.
    """
    sees_all = redis.acl_whoami() != WORKER
    queues: dict[str, Strange] = {}
    until, cursor = time.monotonic() + LOOKS_SECONDS, 0
    while True:
        answer: Any = redis.scan(cursor, count=KEYS_AT_ONCE, _type="list")
        cursor, keys = answer
        for key in keys:
            name = key.decode("utf-8", "replace")
            # kombu keeps tasks with a priority beside their queue, under such a name.
            if name.partition("\x06\x16")[0] not in QUEUES and (sees_all or name.startswith(OURS)):
                queue = Strange(name, *_look(redis, key))
                if queue.length and (name.startswith(OURS) or queue.has_ours):
                    queues[name] = queue
        if not cursor or time.monotonic() > until:
            return [queues[name] for name in sorted(queues)]


def _look(redis: Redis, key: bytes) -> tuple[int, Counter[str]]:
    with redis.pipeline(transaction=False) as pipeline:
        pipeline.llen(key)
        pipeline.lrange(key, -LOOKED_AT, -1)
        length, frames = pipeline.execute()
    return length, Counter(map(_task, frames))


def _task(frame: bytes) -> str:
    """The name of the task in a frame, and nothing else: the frame has mobiles and texts."""
    try:
        name = json.loads(frame)["headers"]["task"]
    except (ValueError, TypeError, LookupError, RecursionError):
        return NO_TASK
    return name[:60] if isinstance(name, str) else NO_TASK

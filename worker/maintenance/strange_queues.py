"""Queues in Redis that nobody takes from, with tasks of ours in them: what was sent there by a wrong name lies there for ever."""

import json
import time
from collections import Counter
from dataclasses import dataclass
from typing import Any

from redis import Redis

from worker.domain.escape import escaped
from worker.domain.lane import QUEUES

OURS = "sms."
"""What the names of our queues and tasks begin with."""
LOOKED_AT = 100
"""Frames of a queue that are looked at, the oldest."""
KEYS_AT_ONCE = 1000
LOOKS_SECONDS = 5
NO_TASK = "no task"


@dataclass(frozen=True, slots=True)
class Strange:
    """A queue that no worker serves: how much lies there, and how many of the oldest LOOKED_AT are of which task."""

    name: str
    length: int
    tasks: Counter[str]

    @property
    def has_ours(self) -> bool:
        """Whether something for us lies there."""
        return any(task.startswith(OURS) for task in self.tasks)

    def __str__(self) -> str:
        tasks = ", ".join(f"{escaped(task)} {count}" for task, count in self.tasks.most_common(5))
        return f"{escaped(self.name)} {self.length} ({tasks})"


def strange_queues(redis: Redis) -> list[Strange]:
    """Those whose names are like ours, or in which a task of ours lies. Of a large Redis, what is found in LOOKS_SECONDS."""
    found: dict[str, Strange] = {}
    until, cursor = time.monotonic() + LOOKS_SECONDS, 0
    while True:
        answer: Any = redis.scan(cursor, count=KEYS_AT_ONCE, _type="list")
        cursor, keys = answer
        for key in keys:
            name = key.decode("utf-8", "replace")
            # kombu keeps what has a priority beside its queue, under such a name.
            if name.partition("\x06\x16")[0] not in QUEUES:
                queue = Strange(name, *_look(redis, key))
                if queue.length and (name.startswith(OURS) or queue.has_ours):
                    found[name] = queue
        if not cursor or time.monotonic() > until:
            return [found[name] for name in sorted(found)]


def _look(redis: Redis, key: bytes) -> tuple[int, Counter[str]]:
    with redis.pipeline(transaction=False) as pipeline:
        pipeline.llen(key)
        pipeline.lrange(key, -LOOKED_AT, -1)
        length, frames = pipeline.execute()
    return length, Counter(map(_task, frames))


def _task(frame: bytes) -> str:
    """The name of the task in a frame, and nothing else of it: it has mobiles and texts."""
    try:
        name = json.loads(frame)["headers"]["task"]
    except (ValueError, TypeError, LookupError, RecursionError):
        return NO_TASK
    return name[:60] if isinstance(name, str) else NO_TASK

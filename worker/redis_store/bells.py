"""Bells are tasks that tell another process that there is work. Any bell may be lost: the tick finds the work too.

A bell is a Celery task. Redis itself puts it into the queue, and only where few tasks wait there. So a flood of
messages causes no flood of tasks, and the sender of a bell needs one round trip and no Celery.
"""

import base64
import json
import uuid
from datetime import datetime
from typing import Any

from redis import Redis

from worker.domain.lane import Lane

FEW = 10
"""With this many tasks in a queue, one more starts no work sooner."""

# A full Redis runs this too (allow-oom): the work that a bell starts makes room.
_RING = """#!lua flags=allow-oom
if redis.call('LLEN', KEYS[1]) < tonumber(ARGV[1]) then
  redis.call('LPUSH', KEYS[1], ARGV[2])
end
"""
_ANY = 2**31

MOVED_KEY = "sms:moved-aside"
"""A set: the new names of the keys that were moved aside."""
_MOVE_ASIDE = """#!lua flags=allow-oom
local kind = redis.call('TYPE', KEYS[1]).ok
if kind == 'list' or kind == 'none' then return 0 end
redis.call('SADD', KEYS[3], KEYS[2])
redis.call('RENAME', KEYS[1], KEYS[2])
return 1
"""


def ring(redis: Redis, task: str, *args: str | int, queue: str, fewer_than: int = 1) -> None:
    """Puts the task into the queue if fewer than `fewer_than` tasks wait there. Raises redis' exceptions."""
    redis.eval(_RING, 1, queue, fewer_than, envelope(task, args, queue))


def ring_lane(redis: Redis, lane: Lane) -> None:
    """Tells the workers that there is work in the lane. Raises redis' exceptions."""
    ring(redis, "sms.work", lane.name, queue=lane.queue)


def send(redis: Redis, task: str, *args: str | int, queue: str) -> None:
    """Puts the task into the queue, however many wait there. Raises redis' exceptions."""
    ring(redis, task, *args, queue=queue, fewer_than=_ANY)


def envelope(task: str, args: tuple[str | int, ...], queue: str) -> str:
    """The task as JSON, as a worker takes it from Redis: Celery's message protocol, version 2, in kombu's envelope."""
    task_id = str(uuid.uuid4())
    body = json.dumps([args, {}, {"callbacks": None, "errbacks": None, "chain": None, "chord": None}])
    return json.dumps(
        {
            "body": base64.b64encode(body.encode()).decode(),
            "content-encoding": "utf-8",
            "content-type": "application/json",
            "headers": {"lang": "py", "task": task, "id": task_id, "root_id": task_id, "ignore_result": True},
            "properties": {
                "correlation_id": task_id,
                "delivery_mode": 2,
                "delivery_info": {"exchange": "", "routing_key": queue},
                "priority": 0,
                "body_encoding": "base64",
                "delivery_tag": str(uuid.uuid4()),
            },
        }
    )


def move_aside(redis: Redis, key: str, *, now: datetime) -> str | None:
    """Renames a value that has the key of a queue and is not a list. Returns its new name; None if there was none.

    Raises redis' exceptions.
    """
    aside = f"{key}:not-a-list:{now.timestamp():.0f}"
    return aside if redis.eval(_MOVE_ASIDE, 3, key, aside, MOVED_KEY) else None


def moved_aside(redis: Redis) -> list[str]:
    """The names of the values that were moved aside and still exist. Raises redis' exceptions."""
    names: Any = redis.smembers(MOVED_KEY)
    return sorted(name.decode("utf-8", "replace") for name in names if redis.exists(name))

"""What processes complain of, by name, for `sms doctor`: in Redis, for as long as they say it again.

All times are those of Redis, for the clocks of whoever tells and whoever asks may differ.
"""

import os
import socket
from datetime import timedelta
from typing import Any

from redis import Redis

from worker.redis_store.clock import redis_time


def name() -> str:
    """What this process is called among all: HOST/PID."""
    return f"{socket.gethostname()}/{os.getpid()}"


def complain(redis: Redis, key: str, process: str, what: str, *, kept: timedelta) -> None:
    """Writes the complaint, and removes those of others that are older than `kept`: they have ended. Raises redis' exceptions."""
    now = redis_time(redis).timestamp()
    complaints_by_name: Any = redis.hgetall(key)
    gone = [other for other, text in complaints_by_name.items() if _at(text) <= now - kept.total_seconds()]
    with redis.pipeline(transaction=True) as pipeline:
        if gone:
            pipeline.hdel(key, *gone)
        # Words of the system may not be text; they are written all the same.
        pipeline.hset(key, process, f"{now:.3f} {what}".encode(errors="backslashreplace"))
        pipeline.expire(key, kept)
        pipeline.execute()


def withdraw(redis: Redis, key: str, process: str) -> None:
    """Tells that it is well again. Raises redis' exceptions."""
    redis.hdel(key, process)


def complaints(redis: Redis, key: str, *, kept: timedelta) -> dict[str, tuple[str, timedelta]]:
    """What each process told last, and how long ago, by name; without what is older than `kept`. Raises redis' exceptions."""
    complaints_by_name: Any = redis.hgetall(key)
    now = redis_time(redis).timestamp()
    ago = {process: timedelta(seconds=max(0.0, now - _at(text))) for process, text in complaints_by_name.items()}
    return {
        process.decode(): (text.decode().partition(" ")[2], ago[process])
        for process, text in sorted(complaints_by_name.items())
        if ago[process] < kept
    }


def _at(text: bytes) -> float:
    return float(text.partition(b" ")[0])

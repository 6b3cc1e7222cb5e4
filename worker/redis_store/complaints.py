"""The complaints of processes, by name, for `sms doctor`. Redis keeps one for as long as the process repeats it.

All times are those of Redis, because the clocks of the processes may differ.
"""

from datetime import timedelta
from typing import Any

from redis import Redis

from worker.redis_store.clock import redis_time


def complain(redis: Redis, key: str, process: str, complaint: str, *, kept: timedelta) -> None:
    """Writes the complaint, and removes complaints that are older than `kept`, whose processes have ended.

    Raises redis' exceptions.
    """
    now = redis_time(redis).timestamp()
    complaints_by_name: Any = redis.hgetall(key)
    expired = [other for other, text in complaints_by_name.items() if _at(text) <= now - kept.total_seconds()]
    with redis.pipeline(transaction=True) as pipeline:
        if expired:
            pipeline.hdel(key, *expired)
        # Error messages of the system may not be valid text; they are written all the same.
        pipeline.hset(key, process, f"{now:.3f} {complaint}".encode(errors="backslashreplace"))
        pipeline.expire(key, kept)
        pipeline.execute()


def withdraw(redis: Redis, key: str, process: str) -> None:
    """Removes the complaint of a process that is well again. Raises redis' exceptions."""
    redis.hdel(key, process)


def complaints(redis: Redis, key: str, *, kept: timedelta) -> dict[str, tuple[str, timedelta]]:
    """The last complaint of each process and its age, by the process's name, without those older than `kept`.

    Raises redis' exceptions.
    """
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

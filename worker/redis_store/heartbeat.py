"""The time of the last tick. It tells `sms doctor` whether beat and a worker are at work."""

from datetime import UTC, datetime
from typing import Any

from redis import Redis

_TICK = "sms:tick"

# A full Redis runs this too (allow-oom).
_NOTE_TICK = """#!lua flags=allow-oom
redis.call('SET', KEYS[1], ARGV[1])
"""


def note_tick(redis: Redis, *, now: datetime) -> None:
    """Notes that a tick ran, so beat and a worker are at work. Raises redis' exceptions."""
    redis.eval(_NOTE_TICK, 1, _TICK, now.timestamp())


def last_tick(redis: Redis) -> datetime | None:
    """The time (UTC) of the last tick; None where none ran since Redis was emptied. Raises redis' exceptions."""
    at: Any = redis.get(_TICK)
    return datetime.fromtimestamp(float(at), UTC) if at else None

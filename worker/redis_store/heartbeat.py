"""When the tick last ran: `sms doctor` sees by it whether beat and a worker are at work."""

from datetime import UTC, datetime
from typing import Any

from redis import Redis

_TICK = "sms:tick"

# A full Redis takes this too (allow-oom).
_NOTE_TICK = """#!lua flags=allow-oom
redis.call('SET', KEYS[1], ARGV[1])
"""


def note_tick(redis: Redis, *, now: datetime) -> None:
    """Tells that beat and a worker see to it all."""
    redis.eval(_NOTE_TICK, 1, _TICK, now.timestamp())


def last_tick(redis: Redis) -> datetime | None:
    """When a worker last did what beat told it; None where none has since Redis is there."""
    at: Any = redis.get(_TICK)
    return datetime.fromtimestamp(float(at), UTC) if at else None

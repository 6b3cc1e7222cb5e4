"""A thread that looks at the running system several times a second, at the age of what waits.

The checker reads its looks.
"""

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from redis import Redis
from redis.exceptions import RedisError
from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import SQLAlchemyError

from worker.devstack.stack import Stack
from worker.domain.lane import LANES
from worker.redis_store import heartbeat, intake, intake_keys

LOOK_SECONDS = 0.25
SLOW_SECONDS = 2
"""A look that comes that long after the one before may have missed something. Such looks are counted."""

# Not by the statements of the system under test.
_OLDEST_PUSH = text("SELECT min(received_at) FROM pushes WHERE due_at IS NOT NULL")
_TO_BE_SENT = text("SELECT count(*) FROM submissions WHERE state IN ('held', 'queued')")
_CLOSED = text("SELECT count(*) FROM accounts WHERE gate <> 'open'")


@dataclass(frozen=True, slots=True)
class Look:
    """What was seen at one moment, in Unix seconds. Ages are in seconds."""

    at: float
    tick: float
    push: float
    """The age of the oldest push that is not processed; 0 if there is none."""
    waiting: int
    """Messages in the intake, and submissions that are to be sent."""
    gate_closed: bool
    bells: int = 0
    """Tasks in the longest queue of a lane."""


@dataclass
class Watch:
    """All the looks so far."""

    looks: list[Look] = field(default_factory=list)
    slow: int = 0
    failed: list[str] = field(default_factory=list)
    _began: float = field(default_factory=time.time)

    def run(self, stack: Stack, engine: Engine, stop: threading.Event) -> None:
        with Redis.from_url(stack.redis_url, socket_timeout=5) as redis:
            last = time.time()
            while not stop.wait(LOOK_SECONDS):
                now = time.time()
                self.slow += now - last > SLOW_SECONDS
                last = now
                try:
                    self.looks.append(self._look(redis, engine, now))
                except (RedisError, SQLAlchemyError) as error:
                    self.failed.append(repr(error)[:200])

    def _look(self, redis: Redis, engine: Engine, now: float) -> Look:
        tick = heartbeat.last_tick(redis)
        in_redis = sum(count for place, count in intake.depth(redis).items() if place != intake_keys.PUSHES)
        with engine.connect() as connection:
            received = [*_of_ledger(connection), *_of_redis(redis)]
            return Look(
                at=now,
                tick=now - (tick.timestamp() if tick else self._began),
                push=max([0.0, *(now - at for at in received)]),
                waiting=in_redis + int(connection.scalar(_TO_BE_SENT) or 0),
                gate_closed=bool(connection.scalar(_CLOSED)),
                bells=max(int(redis.llen(lane.queue)) for lane in LANES.values()),
            )


@contextmanager
def watching(stack: Stack, engine: Engine) -> Iterator[Watch]:
    """Looks until the block ends."""
    watch, stop = Watch(), threading.Event()
    thread = threading.Thread(target=watch.run, args=(stack, engine, stop), name="watch", daemon=True)
    thread.start()
    try:
        yield watch
    finally:
        stop.set()
        thread.join(10)


def _of_ledger(connection: Connection) -> Iterator[float]:
    oldest: Any = connection.scalar(_OLDEST_PUSH)
    if oldest is not None:
        # SQLite has it as a text, in UTC.
        at = datetime.fromisoformat(oldest).replace(tzinfo=UTC) if isinstance(oldest, str) else oldest
        yield at.timestamp()


def _of_redis(redis: Redis) -> Iterator[float]:
    """The times of pushes that came while the ledger was away."""
    for push in redis.hvals(f"sms:intake:{intake_keys.PUSHES}"):
        yield datetime.fromisoformat(json.loads(push)["received_at"]).timestamp()

"""Why something still waits at the end: a line for each cause, by statements that the system itself does not use."""

from collections import Counter
from collections.abc import Iterator
from datetime import datetime
from typing import Any

from redis import Redis
from redis.exceptions import RedisError
from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import SQLAlchemyError

from worker.domain.lane import QUEUES
from worker.redis_store import intake_keys

_SUBMISSIONS = text(
    """
    SELECT submissions.state, lane, name, gate, gate_reason, due_at <= :now, tips, count(*)
    FROM submissions JOIN accounts ON accounts.id = account_id
    WHERE submissions.state IN ('held', 'queued', 'submitting')
    GROUP BY 1, 2, 3, 4, 5, 6, 7 ORDER BY 8 DESC
    """
)
_PUSHES = text("SELECT due_at <= :now, count(*) FROM pushes WHERE state = 'received' GROUP BY 1 ORDER BY 2 DESC")
SHOWN = 80
"""Characters of a reason."""


def causes(engine: Engine, redis: Redis, *, now: datetime) -> list[str]:
    """A line for each cause. Within the ledger the most frequent comes first."""
    try:
        with engine.connect() as connection:
            return [*_of_ledger(connection, now), *_of_redis(redis, now)]
    except (SQLAlchemyError, RedisError) as error:
        return [f"the stores cannot be asked why: {type(error).__name__}"]


def _of_ledger(connection: Connection, now: datetime) -> Iterator[str]:
    # SQLite compares times as texts, in UTC and without a zone.
    at = now.replace(tzinfo=None).isoformat(" ", "microseconds") if connection.dialect.name == "sqlite" else now
    lines: Counter[str] = Counter()
    for state, lane, account, gate, gate_reason, due, tips, count in connection.execute(_SUBMISSIONS, {"now": at}):
        lines[f"{state} in {lane}: {_why(state, account, gate, gate_reason, bool(due))}{_last_tips(tips)}"] += count
    for due, count in connection.execute(_PUSHES, {"now": at}):
        lines["pushes unread: " + ("past their time, their task was lost or waits" if due else "their task waits")] += (
            count
        )
    return (f"{count:,} {line}" for line, count in lines.most_common())


def _why(state: str, account: str, gate: str, gate_reason: str | None, due: bool) -> str:
    if state == "submitting":
        return "its lease is over, and no tick has ended it" if due else "its call is under way, or its worker was lost"
    if gate != "open":
        return f"the gate of {account} is closed ({(gate_reason or '')[:SHOWN]})"
    return "due, and nobody pulls it" if due else "not due yet"


def _last_tips(tips: str | None) -> str:
    return f"; last said: {' '.join(tips.split())[:SHOWN]}" if tips else ""


def _of_redis(redis: Redis, now: datetime) -> Iterator[str]:
    for place in intake_keys.PLACES:
        items = f"sms:intake:{place}"
        there: set[Any] = set(redis.hkeys(items))
        waiting = there.intersection(redis.zrange(f"{items}:waiting", 0, -1))
        given: Any = redis.zrange(f"{items}:taken", 0, -1, withscores=True)
        taken = dict(given)
        late = {name for name, until in taken.items() if name in there and until < now.timestamp()}
        for names, why in (
            (waiting, "waiting, and nobody takes it in"),
            (late, "given to a worker and not given back in time"),
            ((there & taken.keys()) - late, "given to a worker, which tries again and again or was lost"),
            (there - waiting - taken.keys(), "neither waiting nor given out: it is stranded"),
        ):
            if names:
                yield f"{len(names):,} in the intake of {place}: {why}, such as {_name(min(names))}"
    for queue in QUEUES:
        if length := redis.llen(queue):
            yield f"{length:,} tasks in the queue {queue}"


def _name(item: bytes) -> str:
    return item.decode(errors="replace")

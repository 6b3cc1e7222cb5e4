"""Keeps a push before it is acknowledged: in the ledger, or in Redis while the ledger is away."""

import logging
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime
from time import monotonic

from redis import Redis
from redis.exceptions import RedisError
from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from callback_app.budget import Budget
from worker.domain.lane import PUSH_QUEUE, PUSHES_QUEUED
from worker.ledger.inbound import pushes
from worker.redis_store import bells, intake_pushes
from worker.redis_store.clock import RedisClock
from worker.redis_store.connect import open_redis
from worker.redis_store.intake_pushes import MOST_PUSH_BYTES

log = logging.getLogger(__name__)

PATIENCE_SECONDS = 2
"""How long Redis may take to answer. The gateway waits for its SUCCESS meanwhile."""


class NotDurable(RuntimeError):
    """Neither the ledger nor Redis could keep the push. It is not acknowledged, so the gateway repeats it."""


class BudgetSpent(NotDurable):
    """Pushes have used up their bytes of the ledger for this hour, or their bytes of Redis."""


@dataclass(frozen=True)
class Inbox:
    """The ledger and Redis, with the clock of the app and its budget of bytes."""

    engine: Engine
    redis: Redis
    clock: RedisClock
    budget: Budget


def open_inbox(engine: Engine, redis_url: str, *, hourly_bytes: int) -> Inbox:
    """Returns an inbox, which connects at the first push. The ledger takes `hourly_bytes` of pushes in an hour."""
    redis = open_redis(redis_url, patience_seconds=PATIENCE_SECONDS)
    clock = RedisClock(redis, lambda: datetime.now(UTC), monotonic)
    return Inbox(engine, redis, clock, Budget(hourly_bytes, monotonic))


def keep(inbox: Inbox, body: bytes, source: str) -> None:
    """Keeps a raw push from the address `source`, and publishes its task.

    Raises NotDurable where neither store can keep it, and BudgetSpent after too many pushes.
    """
    now = _now(inbox)
    try:
        with inbox.engine.begin() as connection:
            if not inbox.budget.spend(connection, len(body), now=now):
                raise BudgetSpent(
                    "the ledger has taken as many bytes of pushes within an hour as SMS_PUSH_HOURLY_MIB says"
                )
            push_id = pushes.add(connection, body, source=source, received_at=now)
    except SQLAlchemyError as error:
        log.warning("the ledger is away (%s), so the push goes to Redis", type(error).__name__)
        _keep_in_redis(inbox, body, source, now)
    else:
        # Behind so many tasks the tick finds the push in time: a flood of pushes must not become a flood of tasks.
        _publish(inbox, "sms.process_push", push_id, fewer_than=PUSHES_QUEUED)


def _now(inbox: Inbox) -> datetime:
    try:
        return inbox.clock.now()
    except RedisError:
        return inbox.clock.time()


def _keep_in_redis(inbox: Inbox, body: bytes, source: str, now: datetime) -> None:
    try:
        kept = intake_pushes.put(inbox.redis, str(uuid.uuid4()), body, source=source, now=now)
    except RedisError as error:
        raise NotDurable from error
    if not kept:
        raise BudgetSpent(
            f"the ledger is away, and {MOST_PUSH_BYTES // 1024**2} MiB of pushes wait for it in Redis already"
        )
    _publish(inbox, "sms.keep_pushes", fewer_than=bells.FEW)


def _publish(inbox: Inbox, task: str, *arguments: int, fewer_than: int) -> None:
    try:
        bells.ring(inbox.redis, task, *arguments, queue=PUSH_QUEUE, fewer_than=fewer_than)
    except RedisError as error:
        # The push is kept: the tick finds it and publishes its task.
        log.warning("a push is kept, but its task was not published: %s", type(error).__name__)

"""The tick: what beat has a worker do every second, so that nothing waits for a person or for a task that was lost.

Each step is one set-based statement, again and again while much has piled up, and safe to run twice at once.
"""

import logging
from collections.abc import Callable, Collection, Sequence
from datetime import datetime, timedelta
from functools import partial
from time import monotonic

from redis import Redis
from sqlalchemy import Connection, Engine

from worker.config import Settings
from worker.domain.lane import PUSH_QUEUE, PUSHES_QUEUED, UPKEEP_QUEUE, Lane
from worker.domain.policy import Policy
from worker.domain.status import State
from worker.ledger.campaigns import runs
from worker.ledger.dialect import ROWS
from worker.ledger.engine import in_batches, reading
from worker.ledger.inbound import pushes
from worker.ledger.sending import claims, submissions
from worker.redis_store import bells, heartbeat, intake, intake_keys

log = logging.getLogger(__name__)

SETTLE_SECONDS = 60

Seconds = Callable[[], float]
"""A clock that counts seconds."""


def ring_lanes(
    engine: Engine,
    redis: Redis,
    policy: Policy,
    ring: Callable[[Lane], object],
    *,
    now: datetime,
) -> list[Lane]:
    """Rings for each lane that has something to do: its bell was lost, or what is due waited for its time. Those lanes."""
    with reading(engine) as connection:
        due = {
            lane.name
            for lane in policy.lanes.values()
            if any(
                policy.may_send(queue.account_id, lane, now) for queue in claims.queues(connection, lane.name, now=now)
            )
        }
    busy = [lane for lane in policy.lanes.values() if intake.give_back(redis, lane.name, now=now) or lane.name in due]
    for lane in busy:
        ring(lane)
    return busy


def probe_gates(engine: Engine, policy: Policy, probe: Callable[[int], object], *, now: datetime) -> None:
    """Publishes a task for each account whose closed gate may be probed now, by something of the lanes in which it may send."""
    with reading(engine) as connection:
        account_ids = claims.to_be_probed(connection, partial(policy.lanes_open, now=now), now=now)
    for account_id in account_ids:
        probe(account_id)


def expire(engine: Engine, *, now: datetime, clock: Seconds = monotonic) -> None:
    """Submissions that wait to be sent, and are past their validity, do not go out any more."""
    expired = in_batches(engine, partial(submissions.expire, now=now, most=ROWS), most=ROWS, clock=clock)
    if expired:
        log.warning("%d submissions expired before they could be sent", expired)


def expire_leases(engine: Engine, *, resend: Collection[str] = (), now: datetime, clock: Seconds = monotonic) -> None:
    """Submissions of which no outcome was recorded in time become `unknown`, or in the lanes `resend` are sent once more."""
    lost: list[tuple[int, State]] = []

    def expire_some(connection: Connection) -> int:
        some = submissions.expire_leases(connection, resend=resend, now=now, most=ROWS)
        lost.extend(some)
        return len(some)

    in_batches(engine, expire_some, most=ROWS, clock=clock)
    for state in sorted({state for _, state in lost}):
        submission_ids = [submission_id for submission_id, its_state in lost if its_state == state]
        log.warning(
            "%d submissions are %s, no outcome was recorded in time: %s",
            len(submission_ids),
            state,
            submission_ids[:20],
        )


def unreport(engine: Engine, *, wait: timedelta, now: datetime, clock: Seconds = monotonic) -> None:
    """Submissions that were accepted so long ago wait for reports no longer; one that comes late still counts."""
    in_batches(engine, partial(submissions.unreport, before=now - wait, now=now, most=ROWS), most=ROWS, clock=clock)


def requeue_pushes(engine: Engine, redis: Redis, publish: Callable[[int], object], *, now: datetime) -> None:
    """Publishes tasks for pushes that nobody has processed in time; behind a long queue they only wait, and have their tasks."""
    some: Sequence[int] = range(ROWS)
    while len(some) == ROWS and redis.llen(PUSH_QUEUE) < PUSHES_QUEUED:
        with engine.begin() as connection:
            some = pushes.overdue(connection, now=now, most=ROWS)
        for submission_id in some:
            publish(submission_id)


def feed_runs(engine: Engine, feed: Callable[[int, str, int], object], *, now: datetime) -> None:
    """Rings for each run of a campaign that is under way, by its number, and lane, and where fewer tasks wait than given.

    Each second another one is the first, so that all have their turn where a queue has no room for all.
    """
    with reading(engine) as connection:
        running = runs.running(connection, now=now)
    first = int(now.timestamp()) % max(len(running), 1)
    for place, (run_id, lane) in enumerate([*running[first:], *running[:first]]):
        feed(run_id, lane, bells.FEW + place)


def settle_by_and_by(redis: Redis) -> None:
    """Has `settle` done once in SETTLE_SECONDS, by whichever worker is free for it."""
    if redis.set("sms:settle", 1, nx=True, ex=SETTLE_SECONDS):
        bells.send(redis, "sms.settle", queue=UPKEEP_QUEUE)


def tick(
    engine: Engine,
    redis: Redis,
    settings: Settings,
    policy: Policy,
    *,
    start_due: Callable[..., object],
    now: datetime,
) -> list[Lane]:
    """All of it, once. What needs the ledger comes first: while that is away, nothing is given to those who would wait for it.

    The lanes that have something to do.
    """
    expire(engine, now=now)
    expire_leases(engine, resend=settings.resend_lanes, now=now)
    unreport(engine, wait=settings.report_wait, now=now)
    requeue_pushes(
        engine,
        redis,
        lambda submission_id: bells.send(redis, "sms.process_push", submission_id, queue=PUSH_QUEUE),
        now=now,
    )
    probe_gates(
        engine,
        policy,
        lambda account_id: bells.ring(redis, "sms.probe", account_id, queue=UPKEEP_QUEUE, fewer_than=bells.FEW),
        now=now,
    )
    busy = ring_lanes(engine, redis, policy, lambda lane: bells.ring_lane(redis, lane), now=now)
    if intake.give_back(redis, intake_keys.PUSHES, now=now):
        bells.ring(redis, "sms.keep_pushes", queue=PUSH_QUEUE, fewer_than=bells.FEW)
    heartbeat.note_tick(redis, now=now)
    start_due(engine, now=now)
    feed_runs(
        engine,
        lambda run_id, lane, fewer_than: bells.ring(
            redis, "sms.launch", run_id, queue=settings.lanes[lane].queue, fewer_than=fewer_than
        ),
        now=now,
    )
    # Last, for a full Redis takes neither.
    intake.keep_keys(redis, settings.key_days)
    settle_by_and_by(redis)
    return busy

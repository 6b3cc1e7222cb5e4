"""The tick: beat has a worker do it every second, so that nothing waits for a person or for a task that was lost.

Each step is one set-based statement, which is repeated while there is a backlog. It is safe to run twice at once.
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
    """Rings for each lane that has something to do: its bell was lost, or a submission has become due. Returns those
    lanes.
    """
    with reading(engine) as connection:
        due = {
            lane.name
            for lane in policy.lanes.values()
            if any(
                policy.may_send(queue.account_id, lane, now) for queue in claims.queues(connection, lane.name, now=now)
            )
        }
    busy = [
        lane for lane in policy.lanes.values() if intake.requeue_lost(redis, lane.name, now=now) or lane.name in due
    ]
    for lane in busy:
        ring(lane)
    return busy


def probe_gates(engine: Engine, policy: Policy, probe: Callable[[int], object], *, now: datetime) -> None:
    """Publishes a task for each account whose closed gate may be probed now, by a submission of a lane in which it may
    send.
    """
    with reading(engine) as connection:
        account_ids = claims.to_be_probed(connection, partial(policy.lanes_open, now=now), now=now)
    for account_id in account_ids:
        probe(account_id)


def expire(engine: Engine, *, now: datetime, clock: Seconds = monotonic) -> None:
    """Expires submissions that wait to be sent and are past their validity."""
    expired = in_batches(engine, partial(submissions.expire, now=now, most=ROWS), most=ROWS, clock=clock)
    if expired:
        log.warning("%d submissions expired before they could be sent", expired)


def expire_leases(engine: Engine, *, resend: Collection[str] = (), now: datetime, clock: Seconds = monotonic) -> None:
    """Makes submissions `unknown` whose outcome was not recorded in time. In the lanes `resend` they are resent once
    instead.
    """
    lost: list[tuple[int, State]] = []

    def expire_some(connection: Connection) -> int:
        expired = submissions.expire_leases(connection, resend=resend, now=now, most=ROWS)
        lost.extend(expired)
        return len(expired)

    in_batches(engine, expire_some, most=ROWS, clock=clock)
    for state in sorted({state for _, state in lost}):
        submission_ids = [submission_id for submission_id, its_state in lost if its_state == state]
        log.warning(
            "%d submissions are %s, because no outcome was recorded in time: %s",
            len(submission_ids),
            state,
            submission_ids[:20],
        )


def unreport(engine: Engine, *, wait: timedelta, now: datetime, clock: Seconds = monotonic) -> None:
    """Ends the wait for reports of submissions that were accepted at least `wait` ago. A report that comes later still
    counts.
    """
    in_batches(engine, partial(submissions.unreport, before=now - wait, now=now, most=ROWS), most=ROWS, clock=clock)


def requeue_pushes(engine: Engine, redis: Redis, publish: Callable[[int], object], *, now: datetime) -> None:
    """Publishes tasks for pushes that nobody has processed in time. Behind a long queue it does not: there they only
    wait, and have their tasks.
    """
    push_ids: Sequence[int] = range(ROWS)
    while len(push_ids) == ROWS and redis.llen(PUSH_QUEUE) < PUSHES_QUEUED:
        with engine.begin() as connection:
            push_ids = pushes.overdue(connection, now=now, most=ROWS)
        for push_id in push_ids:
            publish(push_id)


def feed_runs(engine: Engine, feed: Callable[[int, str, int], object], *, now: datetime) -> None:
    """Calls `feed` for each campaign run under way, with its id, its lane, and a number of tasks. It rings where fewer
    wait.

    Each second another run comes first, so all get their share where a queue has no room for all.
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
    """Does every step once. Returns the lanes that have something to do.

    The steps that need the ledger come first. While it is away, no bell wakes workers that would only wait for it.
    """
    expire(engine, now=now)
    expire_leases(engine, resend=settings.resend_lanes, now=now)
    unreport(engine, wait=settings.report_wait, now=now)
    requeue_pushes(engine, redis, partial(_publish_push, redis), now=now)
    probe_gates(engine, policy, partial(_ring_for_probe, redis), now=now)
    busy = ring_lanes(engine, redis, policy, partial(bells.ring_lane, redis), now=now)
    if intake.requeue_lost(redis, intake_keys.PUSHES, now=now):
        bells.ring(redis, "sms.keep_pushes", queue=PUSH_QUEUE, fewer_than=bells.FEW)
    heartbeat.note_tick(redis, now=now)
    start_due(engine, now=now)
    feed_runs(engine, partial(_ring_for_run, redis, settings), now=now)
    # Last, because a full Redis takes neither.
    intake.keep_keys(redis, settings.key_days)
    settle_by_and_by(redis)
    return busy


def _publish_push(redis: Redis, push_id: int) -> None:
    bells.send(redis, "sms.process_push", push_id, queue=PUSH_QUEUE)


def _ring_for_probe(redis: Redis, account_id: int) -> None:
    bells.ring(redis, "sms.probe", account_id, queue=UPKEEP_QUEUE, fewer_than=bells.FEW)


def _ring_for_run(redis: Redis, settings: Settings, run_id: int, lane: str, fewer_than: int) -> None:
    bells.ring(redis, "sms.launch", run_id, queue=settings.lanes[lane].queue, fewer_than=fewer_than)

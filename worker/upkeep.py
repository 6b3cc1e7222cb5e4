"""Upkeep: what beat has done every second, or every minute, so that nothing waits for a person or for a task that was lost.

Each step is one set-based statement and safe to run twice at once.
"""

import logging
from collections.abc import Callable, Collection, Sequence
from datetime import datetime, timedelta

from redis import Redis
from sqlalchemy import Engine

from worker import intake
from worker.domain.lane import LANES, Lane
from worker.ledger import pushes, submissions, unknown
from worker.ledger.statements import ROWS, chunks

log = logging.getLogger(__name__)

Publish = Callable[[str, Sequence[int]], object]
"""Publishes a task for a lane that submits the submissions of these numbers."""


def short_queues(redis: Redis) -> list[Lane]:
    """The lanes that can do with more tasks. Behind a long queue nothing is lost, it only waits: more would make it longer."""
    return [lane for lane in LANES.values() if redis.llen(lane.queue) < ROWS]


def release_due(engine: Engine, lanes: Sequence[Lane], publish: Publish, *, now: datetime) -> None:
    """Publishes tasks for what was held until now, and again for what was queued and never claimed."""
    for lane in lanes:
        with engine.begin() as connection:
            due = submissions.release(connection, lane.name, now=now)
        for nos in chunks(due, lane.per_task):
            publish(lane.name, nos)


def probe_gates(engine: Engine, publish: Publish, *, now: datetime) -> None:
    """Publishes a task for one submission of each account whose closed gate may be probed now."""
    with engine.begin() as connection:
        probes = submissions.release_probes(connection, now=now)
    for no, lane in probes:
        publish(lane, [no])


def expire_leases(engine: Engine, *, resend: Collection[str] = (), now: datetime) -> None:
    """Submissions of which no outcome was recorded in time become `unknown`, or in the lanes `resend` are sent once more."""
    with engine.begin() as connection:
        lost = submissions.expire_leases(connection, resend=resend, now=now)
    for state in sorted({state for _, state in lost}):
        nos = [no for no, its_state in lost if its_state == state]
        log.warning("%d submissions are %s, no outcome was recorded in time: %s", len(nos), state, nos[:20])


def settle(engine: Engine, *, now: datetime) -> None:
    """Submissions that are `unknown` and of which a report came were taken. Less often than the tick: it looks at all of them."""
    with engine.begin() as connection:
        settled = unknown.accept_reported(connection, now=now)
    if settled:
        log.info("%d submissions were unknown and are accepted, for they were reported", settled)


def unreport(engine: Engine, *, wait: timedelta, now: datetime) -> None:
    """Submissions that were accepted so long ago wait for reports no longer; one that comes late still counts."""
    with engine.begin() as connection:
        submissions.unreport(connection, before=now - wait, now=now)


def requeue_pushes(engine: Engine, publish: Callable[[int], object], *, now: datetime) -> None:
    """Publishes tasks for pushes that nobody has processed in time."""
    with engine.begin() as connection:
        overdue = pushes.overdue(connection, now=now)
    for no in overdue:
        publish(no)


def requeue_intake(
    redis: Redis, lanes: Sequence[Lane], publish: Callable[[str, Sequence[str]], object], *, now: datetime
) -> None:
    """Publishes tasks for messages that lie in the intake and have lost theirs."""
    for lane in lanes:
        for ids in chunks(intake.strays(redis, lane.name, now=now, most=ROWS), lane.per_task):
            publish(lane.name, ids)


def requeue_kept_pushes(redis: Redis, publish: Callable[[str], object], *, now: datetime) -> None:
    """Publishes tasks for pushes that came to the intake while the ledger was away."""
    for push_id in intake.strays(redis, intake.PUSHES, now=now, most=ROWS):
        publish(push_id)


def tick(
    engine: Engine,
    redis: Redis,
    accounts: Collection[str],
    *,
    publish_submit: Publish,
    publish_take: Callable[[str, Sequence[str]], object],
    publish_push: Callable[[int], object],
    publish_kept_push: Callable[[str], object],
    resend: Collection[str],
    report_wait: timedelta,
    now: datetime,
) -> None:
    """All of it, once."""
    lanes = short_queues(redis)
    requeue_intake(redis, lanes, publish_take, now=now)
    requeue_kept_pushes(redis, publish_kept_push, now=now)
    release_due(engine, lanes, publish_submit, now=now)
    probe_gates(engine, publish_submit, now=now)
    expire_leases(engine, resend=resend, now=now)
    unreport(engine, wait=report_wait, now=now)
    requeue_pushes(engine, publish_push, now=now)
    intake.announce_accounts(redis, accounts)

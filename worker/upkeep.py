"""Upkeep: what beat has a worker do every second, so that nothing waits for a person or for a task that was lost.

Each step is one set-based statement, again and again while much has piled up, and safe to run twice at once.
"""

import logging
from collections.abc import Callable, Collection, Iterable, Sequence
from datetime import datetime, timedelta
from functools import partial
from time import monotonic

from redis import Redis
from sqlalchemy import Connection, Engine

from worker import bells, intake
from worker.config import Settings
from worker.domain.campaign import Window
from worker.domain.lane import PUSH_QUEUE, PUSHES_QUEUED, UPKEEP_QUEUE, Lane
from worker.domain.status import State
from worker.ledger import campaigns, evidence, pushes, retention, submissions, turns, unknown
from worker.ledger.campaigns import Campaign
from worker.ledger.engine import in_batches, reading
from worker.ledger.statements import ROWS
from worker.schedule import start_due

log = logging.getLogger(__name__)

SETTLE_SECONDS = 60
QUARANTINE_BYTES = 1024**3
"""Of the bodies of quarantined pushes: what could not be read may have been sent to fill the disk."""


def ring_lanes(
    engine: Engine,
    redis: Redis,
    lanes: Collection[Lane],
    ring: Callable[[Lane], object],
    may_send: Callable[[int, Lane, datetime], bool],
    *,
    now: datetime,
) -> list[Lane]:
    """Rings for each lane that has something to do: its bell was lost, or what is due waited for its time. Those lanes."""
    with reading(engine) as connection:
        due = {
            lane.name
            for lane in lanes
            if any(may_send(queue.account_id, lane, now) for queue in turns.queues(connection, lane.name, now=now))
        }
    busy = [lane for lane in lanes if intake.give_back(redis, lane.name, now=now) or lane.name in due]
    for lane in busy:
        ring(lane)
    return busy


def probe_gates(
    engine: Engine, lanes: Callable[[int], Iterable[str]], probe: Callable[[int], object], *, now: datetime
) -> None:
    """Publishes a task for each account whose closed gate may be probed now, by something of the lanes in which it may send."""
    with reading(engine) as connection:
        account_ids = turns.to_be_probed(connection, lanes, now=now)
    for account_id in account_ids:
        probe(account_id)


def expire(engine: Engine, *, now: datetime) -> None:
    """Submissions that wait to be sent, and are past their validity, do not go out any more."""
    expired = in_batches(engine, partial(submissions.expire, now=now, most=ROWS), most=ROWS)
    if expired:
        log.warning("%d submissions expired before they could be sent", expired)


def expire_leases(engine: Engine, *, resend: Collection[str] = (), now: datetime) -> None:
    """Submissions of which no outcome was recorded in time become `unknown`, or in the lanes `resend` are sent once more."""
    lost: list[tuple[int, State]] = []

    def expire_some(connection: Connection) -> int:
        some = submissions.expire_leases(connection, resend=resend, now=now, most=ROWS)
        lost.extend(some)
        return len(some)

    in_batches(engine, expire_some, most=ROWS)
    for state in sorted({state for _, state in lost}):
        nos = [no for no, its_state in lost if its_state == state]
        log.warning("%d submissions are %s, no outcome was recorded in time: %s", len(nos), state, nos[:20])


def settle(engine: Engine, *, probable: Collection[str] = (), now: datetime) -> None:
    """Submissions that are `unknown` and of which a report came were taken. Less often than the tick: it looks at many of them.

    In the lanes `probable`, those that were probably not taken are sent once more.
    """
    with engine.begin() as connection:
        settled = unknown.accept_reported(connection, now=now)
    if settled:
        log.info("%d submissions were unknown and are accepted, for they were reported", settled)
    if probable:
        resend_probable(engine, probable, now=now)


def forget(engine: Engine, *, codes: bool, keep: timedelta, now: datetime) -> None:
    """Wipes the texts of OTPs that went out (if `codes`), and bodies of pushes and refused messages that are as old as `keep`.

    Quarantined bodies give way to newer ones, too. Less often than the tick, and no more at a time than there is time for.
    """
    if codes:
        in_batches(engine, retention.wipe_codes, most=ROWS)
    in_batches(engine, partial(retention.wipe_bodies, before=now - keep), most=ROWS)
    in_batches(engine, partial(retention.forget_refused, before=now - keep), most=ROWS)
    too_many = partial(retention.wipe_quarantined, most_bytes=QUARANTINE_BYTES, before=now - timedelta(hours=1))
    wiped = in_batches(engine, too_many, most=ROWS)
    if wiped:
        log.warning(
            "the bodies of the %d oldest quarantined pushes are kept no longer: those of the others have %d MiB",
            wiped, QUARANTINE_BYTES // 1024**2,
        )  # fmt: skip


def resend_probable(
    engine: Engine, lanes: Collection[str], *, now: datetime, clock: Callable[[], float] = monotonic
) -> None:
    """What is unknown in these lanes, and was probably not taken, is sent once more, as much of it as there is time for.

    Page by page, and the next call goes on after the last of them. `clock` is in seconds.
    """
    resent = 0

    def resend_some(connection: Connection) -> int:
        nonlocal resent
        more, others_follow = evidence.resend_next(connection, lanes, now=now)
        resent += more
        return int(others_follow)

    in_batches(engine, resend_some, most=1, clock=clock)
    if resent:
        log.warning("%d submissions were unknown and probably not taken: they are sent once more", resent)


def unreport(engine: Engine, *, wait: timedelta, now: datetime) -> None:
    """Submissions that were accepted so long ago wait for reports no longer; one that comes late still counts."""
    in_batches(engine, partial(submissions.unreport, before=now - wait, now=now, most=ROWS), most=ROWS)


def requeue_pushes(engine: Engine, redis: Redis, publish: Callable[[int], object], *, now: datetime) -> None:
    """Publishes tasks for pushes that nobody has processed in time; behind a long queue they only wait, and have their tasks."""
    some: Sequence[int] = range(ROWS)
    while len(some) == ROWS and redis.llen(PUSH_QUEUE) < PUSHES_QUEUED:
        with engine.begin() as connection:
            some = pushes.overdue(connection, now=now, most=ROWS)
        for no in some:
            publish(no)


def launch_runs(engine: Engine, launch: Callable[[int, str, int], object], *, now: datetime) -> None:
    """Rings for each run of a campaign that is under way, by its number, and lane, and where fewer tasks wait than given.

    Each second another one is the first, so that all have their turn where a queue has no room for all.
    """
    with reading(engine) as connection:
        running = campaigns.running(connection, now=now)
    first = int(now.timestamp()) % max(len(running), 1)
    for place, (run_no, lane) in enumerate([*running[first:], *running[:first]]):
        launch(run_no, lane, bells.FEW + place)


def settle_by_and_by(redis: Redis) -> None:
    """Has `settle` done once in SETTLE_SECONDS, by whichever worker is free for it."""
    if redis.set("sms:settle", 1, nx=True, ex=SETTLE_SECONDS):
        bells.send(redis, "sms.settle", queue=UPKEEP_QUEUE)


def tick(
    engine: Engine,
    redis: Redis,
    settings: Settings,
    *,
    may_send: Callable[[int, Lane, datetime], bool],
    window: Callable[[Campaign, datetime], Window | None],
    now: datetime,
) -> list[Lane]:
    """All of it, once. What needs the ledger comes first: while that is away, nothing is given to those who would wait for it.

    The lanes that have something to do.
    """
    lanes = settings.lanes.values()
    expire(engine, now=now)
    expire_leases(engine, resend=settings.resend_lanes, now=now)
    unreport(engine, wait=settings.report_wait, now=now)
    requeue_pushes(engine, redis, lambda no: bells.send(redis, "sms.process_push", no, queue=PUSH_QUEUE), now=now)
    probe_gates(
        engine,
        lambda account_id: [lane.name for lane in lanes if may_send(account_id, lane, now)],
        lambda account_id: bells.ring(redis, "sms.probe", account_id, queue=UPKEEP_QUEUE, fewer_than=bells.FEW),
        now=now,
    )
    busy = ring_lanes(engine, redis, lanes, lambda lane: bells.ring_lane(redis, lane), may_send, now=now)
    if intake.give_back(redis, intake.PUSHES, now=now):
        bells.ring(redis, "sms.keep_pushes", queue=PUSH_QUEUE, fewer_than=bells.FEW)
    intake.note_tick(redis, now=now)
    start_due(engine, window=window, now=now)
    launch_runs(
        engine,
        lambda run_no, lane, fewer_than: bells.ring(
            redis, "sms.launch", run_no, queue=settings.lanes[lane].queue, fewer_than=fewer_than
        ),
        now=now,
    )
    # Last, for a full Redis takes neither.
    intake.keep_keys(redis, settings.key_days)
    settle_by_and_by(redis)
    return busy

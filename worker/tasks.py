"""The Celery tasks. Each calls one function of `sending`, `inbound`, `campaigns` or `maintenance`."""

import logging
from functools import partial
from threading import Lock
from typing import Any

from celery import Task
from celery.exceptions import Reject
from celery.signals import worker_process_shutdown, worker_shutdown, worker_shutting_down
from redis.exceptions import RedisError
from sqlalchemy.exc import OperationalError

from worker.app import app
from worker.campaigns.start_due import start_due
from worker.domain.clock import WrongClock
from worker.domain.lane import PUSH_QUEUE
from worker.inbound.process_push import keep_pushes, process_push
from worker.ledger.errors import retried
from worker.maintenance.retention import forget
from worker.maintenance.settle import settle as settle_unknown
from worker.maintenance.tick import tick as do_tick
from worker.redis_store import bells, intake, intake_keys
from worker.redis_store.connect import is_redis_away
from worker.redis_store.lock import lock
from worker.runtime.process import STOPPING
from worker.runtime.retry import retried_while
from worker.sending.by_name import put_by_name
from worker.sending.serve import Server
from worker.wiring import Feeds, Parts, build_parts

TICK_LOST_SECONDS = 3
"""A tick that takes longer stands still, or was lost with its worker. Then the next one begins."""
AWAY = (OperationalError, RedisError, WrongClock)
"""The errors with which the tick and similar tasks end where a store is away. They are logged in one line, because the
task is not at fault, and the next one is due.
"""
CLOCK_SECONDS = 1
"""The time between two questions whether the clock is right again. It is compared less often."""
ROOM_SECONDS = 0.3
"""A push waits this long for another one to finish, so it never keeps a thread from other tasks for longer."""
PASS_ON_SECONDS = 0.2
"""A task that is passed on may come back at once, where no worker can do it."""

log = logging.getLogger(__name__)

_building = Lock()
_to_finish: set[Server | Feeds] = set()


@app.task(name="sms.send", bind=True)
def send_by_name(task: Task, *args: Any, **kwargs: Any) -> None:
    """Sends the `message` whose payload is in the task. Without an id or key it is named by the task's own id.

    Other arguments do not fail in Celery, which would drop the task. They make a message that is refused, and seen.
    """
    try:
        parts = _parts()
    except Reject:
        raise
    except Exception as error:
        # Only the task has the message, and Celery drops a task that fails.
        STOPPING.wait(CLOCK_SECONDS)
        raise Reject(error, requeue=True) from error
    message = kwargs["message"] if kwargs.keys() == {"message"} and not args else {"args": args, "kwargs": kwargs}
    caller = (task.request.origin or "").partition("@")[2]
    queue = (task.request.delivery_info or {}).get("routing_key")
    put = retried_while(put_by_name, STOPPING.wait, is_away=is_redis_away, store="Redis, which takes messages by name,")
    try:
        lane = put(parts.base.redis, message, task.request.id, caller=caller, queue=queue, now=parts.base.clock.now())
    except (RedisError, WrongClock) as error:
        # This process ends, or Redis refuses it for good: a wrong type, no permission. Only the task has the message.
        log.warning("a message by name was not taken and is tried again: %s", error)
        STOPPING.wait(CLOCK_SECONDS)
        raise Reject(error, requeue=True) from error
    parts.servers[lane].wake()


@app.task(name="sms.work")
def work_on(lane: str) -> None:
    """Starts the work that waits in the lane."""
    _parts().servers[lane].wake()


@app.task(name="sms.launch", bind=True)
def feed_run(task: Task, run_id: int) -> None:
    """Starts making the next messages of that run of a campaign."""
    _parts().feeds.begin((run_id, _queue(task)))


@app.task(name="sms.probe", bind=True, throws=AWAY)
def probe(task: Task, account_id: int) -> None:
    """Sends one submission through the closed gate of that account, to see whether the gate can be opened again."""
    parts = _parts()
    claimed = parts.sending.claim_probe(account_id)
    if claimed is None:
        _pass_on(parts, task, account_id)
    for submission in claimed or ():
        parts.servers[submission.lane].call(submission)


@app.task(name="sms.process_push", throws=AWAY)
def process_kept_push(push_id: int) -> None:
    """Applies the push of that id. Where the most allowed are under way already, it goes to the end of the queue."""
    parts = _parts()
    if not parts.push_room.acquire(timeout=ROOM_SECONDS):
        bells.send(parts.base.redis, "sms.process_push", push_id, queue=PUSH_QUEUE)
        return
    try:
        process = retried(process_push, STOPPING.wait)
        process(parts.push_engine, push_id, parts.accounts_of_pushes, optout_words=parts.base.settings.optout_words)
    finally:
        parts.push_room.release()


@app.task(name="sms.keep_pushes", throws=AWAY)
def keep_pushes_from_intake() -> None:
    """Moves the pushes that came while the ledger was away from the intake to the ledger, and has them applied."""
    parts = _parts()
    for push_id in retried(keep_pushes, STOPPING.wait)(parts.base.engine, parts.base.redis, now=parts.base.clock.now()):
        bells.send(parts.base.redis, "sms.process_push", push_id, queue=PUSH_QUEUE)


@app.task(name="sms.tick", throws=AWAY)
def tick() -> None:
    """Does what beat asks for every second."""
    parts = _parts()
    with lock(parts.base.redis, "tick", lost_seconds=TICK_LOST_SECONDS) as mine:
        if mine:
            busy = do_tick(
                parts.base.engine,
                parts.base.redis,
                parts.base.settings,
                parts.base.policy,
                start_due=partial(start_due, window=parts.window),
                now=parts.base.clock.now(),
            )
            # Ticks and bells may alternate between two workers, so that each worker always gets the same kind. Only
            # this one may be able to send.
            for lane in busy:
                parts.servers[lane.name].wake()


@app.task(name="sms.settle", throws=AWAY)
def settle() -> None:
    """Does what the tick asks for every minute."""
    parts = _parts()
    # A push that came while the ledger was away may hold the missing report.
    unread = intake.depth(parts.base.redis)[intake_keys.PUSHES]
    settings, now = parts.base.settings, parts.base.clock.now()
    settle_unknown(parts.base.engine, probable=() if unread else settings.probable_lanes, now=now)
    forget(parts.base.engine, codes=not settings.lanes["otp"].keep_text, keep=settings.keep_time, now=now)


@worker_shutting_down.connect
def _stop(**_: Any) -> None:
    STOPPING.set()


# The first signal comes in a worker of threads, the second in each child of a prefork worker.
@worker_shutdown.connect
@worker_process_shutdown.connect
def _finish(**_: Any) -> None:
    """Waits for the calls under way: only this process knows their outcomes."""
    STOPPING.set()
    for worker in _to_finish:
        worker.finish()


def _parts() -> Parts:
    # One thread builds the parts, and the others wait for it.
    with _building:
        parts = retried(build_parts, STOPPING.wait)(app.conf.worker_concurrency or 1)
        _to_finish.update(parts.servers.values(), [parts.feeds])
    while not parts.base.clock.may_work():
        # A thread that waits takes no task, and in the end the worker takes none. Another worker gets its tasks after
        # the visibility timeout.
        if STOPPING.wait(CLOCK_SECONDS):
            raise Reject("this machine's clock is wrong", requeue=True)
    parts.announce()
    return parts


def _pass_on(parts: Parts, task: Task, number: int) -> None:
    """Rings for another worker to do what this one cannot. Ticks may reach only one of two workers, and the tasks that
    they ring for only the other.
    """
    if STOPPING.wait(PASS_ON_SECONDS):
        return
    bells.ring(parts.base.redis, task.name, number, queue=_queue(task), fewer_than=bells.FEW)


def _queue(task: Task) -> str:
    """Returns the queue that the task came in."""
    return str(task.request.delivery_info["routing_key"])

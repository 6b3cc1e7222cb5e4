"""The Celery tasks. Each is one call to a verb; what they do is in the modules of that name."""

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
from worker.runtime.retry import retried as retried_while
from worker.sending.by_name import put_by_name
from worker.sending.serve import Server
from worker.wiring import Feeds, Parts, parts

TICK_LOST_SECONDS = 3
"""A tick that takes longer stands still, or was lost with its worker: then the next one begins."""
AWAY = (OperationalError, RedisError, WrongClock)
"""What the tick and the like end with where a store is away: one line, for it is no fault of theirs, and the next one is due."""
CLOCK_SECONDS = 1
"""Between two questions whether the clock is right again; it is compared less often."""
ROOM_SECONDS = 0.3
"""A push waits so long for one of those under way to be over, and keeps a thread from nobody longer than that."""
PASS_ON_SECONDS = 0.2
"""It may come back at once, where no worker can."""

log = logging.getLogger(__name__)

_building = Lock()
_to_finish: set[Server | Feeds] = set()


@app.task(name="sms.send", bind=True)
def send_by_name(task: Task, *args: Any, **kwargs: Any) -> None:
    """Sends the `message` whose payload is in the task; without an id or key the task's own id names it.

    Other arguments are no error of Celery's, which would drop the task: they are a message that is refused, and seen.
    """
    try:
        here = _parts()
    except Reject:
        raise
    except Exception as why:
        # The message is in the task alone, and Celery drops a task that fails.
        STOPPING.wait(CLOCK_SECONDS)
        raise Reject(why, requeue=True) from why
    message = kwargs["message"] if kwargs.keys() == {"message"} and not args else {"args": args, "kwargs": kwargs}
    caller = (task.request.origin or "").partition("@")[2]
    queue = (task.request.delivery_info or {}).get("routing_key")
    put = retried_while(put_by_name, STOPPING.wait, is_away=is_redis_away, store="Redis, which takes messages by name,")
    try:
        lane = put(here.base.redis, message, task.request.id, caller=caller, queue=queue, now=here.base.clock.now())
    except (RedisError, WrongClock) as why:
        # This process ends, or Redis refuses it for good: a wrong type, no permission. The message is in the task alone.
        log.warning("a message by name is not taken, it is tried again: %s", why)
        STOPPING.wait(CLOCK_SECONDS)
        raise Reject(why, requeue=True) from why
    here.servers[lane].wake()


@app.task(name="sms.work")
def work_on(lane: str) -> None:
    """Has what there is to do in the lane begun."""
    _parts().servers[lane].wake()


@app.task(name="sms.launch", bind=True)
def launch_run(task: Task, run_id: int) -> None:
    """Has the next messages of that run of a campaign made."""
    _parts().feeds.begin((run_id, _queue(task)))


@app.task(name="sms.probe", bind=True, throws=AWAY)
def probe(task: Task, account_id: int) -> None:
    """Sends one submission through the closed gate of that account, to see whether it can be opened again."""
    here = _parts()
    claimed = here.sending.claim_probe(account_id)
    if claimed is None:
        _pass_on(here, task, account_id)
    for one in claimed or ():
        here.servers[one.lane].call(one)


@app.task(name="sms.process_push", throws=AWAY)
def process_kept_push(push_id: int) -> None:
    """Applies the push of that number. Where as many are under way as may be, it goes to the end of the queue."""
    here = _parts()
    if not here.push_room.acquire(timeout=ROOM_SECONDS):
        bells.send(here.base.redis, "sms.process_push", push_id, queue=PUSH_QUEUE)
        return
    try:
        process = retried(process_push, STOPPING.wait)
        process(here.push_engine, push_id, here.accounts_of_pushes, optout_words=here.base.settings.optout_words)
    finally:
        here.push_room.release()


@app.task(name="sms.keep_pushes", throws=AWAY)
def keep_pushes_from_intake() -> None:
    """Moves the pushes that came while the ledger was away from the intake to the ledger, and has them applied."""
    here = _parts()
    for push_id in retried(keep_pushes, STOPPING.wait)(here.base.engine, here.base.redis, now=here.base.clock.now()):
        bells.send(here.base.redis, "sms.process_push", push_id, queue=PUSH_QUEUE)


@app.task(name="sms.tick", throws=AWAY)
def tick() -> None:
    """What beat has done every second."""
    here = _parts()
    with lock(here.base.redis, "tick", lost_seconds=TICK_LOST_SECONDS) as mine:
        if mine:
            busy = do_tick(
                here.base.engine,
                here.base.redis,
                here.base.settings,
                here.base.policy,
                start_due=partial(start_due, window=here.window),
                now=here.base.clock.now(),
            )
            # Ticks and bells may go to two workers in turn, always the same to each, and only this one be able to send.
            for lane in busy:
                here.servers[lane.name].wake()


@app.task(name="sms.settle", throws=AWAY)
def settle() -> None:
    """What the tick has done every minute."""
    here = _parts()
    # A report that is missed may be in a push that came while the ledger was away.
    unread = intake.depth(here.base.redis)[intake_keys.PUSHES]
    settings, now = here.base.settings, here.base.clock.now()
    settle_unknown(here.base.engine, probable=() if unread else settings.probable_lanes, now=now)
    forget(here.base.engine, codes=not settings.lanes["otp"].keep_text, keep=settings.keep_time, now=now)


@worker_shutting_down.connect
def _stop(**_: Any) -> None:
    STOPPING.set()


# The one in a worker of threads, the other in each child of a prefork worker.
@worker_shutdown.connect
@worker_process_shutdown.connect
def _finish(**_: Any) -> None:
    """Waits for the calls that are under way: what they come to is known to this process alone."""
    STOPPING.set()
    for each in _to_finish:
        each.finish()


def _parts() -> Parts:
    # One thread builds them; the others wait for it.
    with _building:
        here = retried(parts, STOPPING.wait)(app.conf.worker_concurrency or 1)
        _to_finish.update(here.servers.values(), [here.feeds])
    while not here.base.clock.may_work():
        # A thread that waits takes no task, and in the end the worker none. What it holds another has after the visibility timeout.
        if STOPPING.wait(CLOCK_SECONDS):
            raise Reject("this machine's clock is wrong", requeue=True)
    here.announce()
    return here


def _pass_on(here: Parts, task: Task, number: int) -> None:
    """Gives another worker what this one cannot do. Ticks may go to one of two workers, and what they ring for to the other."""
    if STOPPING.wait(PASS_ON_SECONDS):
        return
    bells.ring(here.base.redis, task.name, number, queue=_queue(task), fewer_than=bells.FEW)


def _queue(task: Task) -> str:
    """The queue that it came in."""
    return str(task.request.delivery_info["routing_key"])

"""The Celery tasks. Each is one call to a verb; what they do is in the modules of that name."""

import os
from collections.abc import Sequence
from concurrent.futures import wait
from functools import partial
from threading import Lock
from typing import Any

from celery import Task
from celery.signals import worker_shutting_down
from sqlalchemy.exc import OperationalError

from worker import upkeep
from worker.accept import accept_by_name, accept_from_intake
from worker.app import TICK_SECONDS, app
from worker.domain.lane import CALLS_AT_ONCE, PUSH_QUEUE, UPKEEP_QUEUE, Lane
from worker.launch import LONGEST, launch
from worker.ledger.patience import patient
from worker.ledger.turns import Claimed
from worker.limits.alone import alone
from worker.process_push import keep_pushes, process_push
from worker.submit import submit
from worker.wiring import STOPPING, Parts, parts, utc_now
from worker.work import work

WAITER_SECONDS = 2
"""A task that waits for tokens is back by then, or was lost."""
LAUNCH_SECONDS = 3 * LONGEST.total_seconds()

_building = Lock()


@app.task(name="sms.send", bind=True)
def send_by_name(task: Task, *args: Any, **kwargs: Any) -> None:
    """Sends the `message` whose payload is in the task; without an id or key the task's own id names it.

    Other arguments are no error of Celery's, which would drop the task: they are a message that is refused, and seen.
    """
    here = _parts()
    message = kwargs["message"] if kwargs.keys() == {"message"} and not args else {"args": args, "kwargs": kwargs}
    caller = (task.request.origin or "").partition("@")[2]
    lane = accept_by_name(
        here.accept, here.refuse, message, task.request.id, here.account_ids, caller=caller, now=utc_now()
    )
    if lane:
        _work(here, here.settings.lanes[lane])


@app.task(name="sms.work")
def work_on(lane: str) -> None:
    """Does what there is to do in the lane."""
    here = _parts()
    _work(here, here.settings.lanes[lane])


@app.task(name="sms.launch", throws=(OperationalError,))
def launch_run(run_no: int) -> None:
    """Makes the next messages of that run of a campaign."""
    here = _parts()
    with alone(here.redis, f"launch:{run_no}", lost_seconds=LAUNCH_SECONDS) as mine:
        if mine and not STOPPING.is_set():
            launch(
                here.engine,
                run_no,
                accept=here.accept_if,
                window=here.window,
                ring=lambda lane: _ring(here.settings.lanes[lane]),
                random=os.urandom,
                clock=utc_now,
            )


@app.task(name="sms.probe")
def probe(account_id: int) -> None:
    """Sends one submission through the closed gate of that account, to see whether it can be opened again."""
    here = _parts()
    _submit_all(here, here.claim_probe(account_id))


@app.task(name="sms.process_push")
def process_kept_push(no: int) -> None:
    """Applies the push of that number."""
    here = _parts()
    _process_push(here, no)


@app.task(name="sms.keep_pushes")
def keep_pushes_from_intake() -> None:
    """Moves the pushes that came while the ledger was away from the intake to the ledger, and applies them."""
    here = _parts()
    for no in patient(keep_pushes, STOPPING.wait)(here.engine, here.redis, now=utc_now()):
        _process_push(here, no)


# Without a traceback each second: that the ledger is away is no fault of the tick, and the next one is due.
@app.task(name="sms.tick", throws=(OperationalError,))
def tick() -> None:
    """What beat has done every second."""
    here = _parts()
    upkeep.tick(
        here.engine,
        here.redis,
        here.account_ids,
        here.settings.lanes.values(),
        ring=_ring,
        may_send=here.may_send,
        window=here.window,
        launch=lambda run_no, lane: launch_run.apply_async(
            (run_no,), queue=here.settings.lanes[lane].queue, expires=10 * TICK_SECONDS
        ),
        probe=lambda account_id: probe.apply_async((account_id,), queue=UPKEEP_QUEUE),
        publish_push=lambda no: process_kept_push.apply_async((no,), queue=PUSH_QUEUE),
        publish_kept_pushes=lambda: keep_pushes_from_intake.apply_async(queue=PUSH_QUEUE),
        resend=here.settings.resend_lanes,
        report_wait=here.settings.report_wait,
        now=utc_now(),
    )


@app.task(name="sms.settle", throws=(OperationalError,))
def settle() -> None:
    """What beat has done every minute."""
    upkeep.settle(_parts().engine, now=utc_now())


@worker_shutting_down.connect
def _stop(**_: Any) -> None:
    STOPPING.set()


def _parts() -> Parts:
    # One thread builds them; the others wait for it.
    with _building:
        return patient(parts, STOPPING.wait)(app.conf.worker_concurrency or 1)


def _process_push(here: Parts, no: int) -> None:
    patient(process_push, STOPPING.wait)(
        here.engine, no, here.accounts_of_pushes, optout_words=here.settings.optout_words
    )


def _ring(lane: Lane) -> None:
    work_on.apply_async((lane.name,), queue=lane.queue)


def _work(here: Parts, lane: Lane) -> None:
    if STOPPING.is_set():
        _ring(lane)
        return
    work(
        take_in=lambda: accept_from_intake(
            here.redis, here.accept, here.refuse, lane.name, here.account_ids, now=utc_now()
        ),
        pull=lambda: here.pull((lane, CALLS_AT_ONCE)),
        submit=partial(_submit_all, here),
        ring=lambda: _ring(lane),
        only_waiter=lambda: alone(here.redis, f"wait:{lane.name}", lost_seconds=WAITER_SECONDS),
        pause=STOPPING.wait,
    )


def _submit_all(here: Parts, claimed: Sequence[Claimed]) -> None:
    """Makes the calls side by side, the first of them in this thread."""
    one = partial(
        submit,
        call=here.call,
        record=here.record,
        keep_gate=here.keep_gate,
        clock=utc_now,
        random=here.random,
        resend=here.settings.resend_lanes,
    )
    others = [here.threads.submit(one, each) for each in claimed[1:]]
    try:
        for each in claimed[:1]:
            one(each)
    finally:
        wait(others)
    for other in others:
        other.result()

"""The Celery tasks. Each is one call to a verb; what they do is in the modules of that name."""

from collections.abc import Mapping, Sequence
from threading import Lock
from typing import Any

from celery import Task, current_task
from celery.signals import worker_shutting_down
from sqlalchemy.exc import OperationalError

from worker import upkeep
from worker.accept import accept_by_name, accept_from_intake
from worker.app import app
from worker.domain.lane import LANES, PUSH_QUEUE
from worker.ledger.patience import patient
from worker.process_push import keep_push, process_push
from worker.submit import submit
from worker.wiring import STOPPING, Parts, parts, utc_now

_building = Lock()


@app.task(name="sms.send", bind=True)
def send_by_name(task: Task, *args: Any, **kwargs: Any) -> None:
    """Sends the `message` whose payload is in the task; without an id or key the task's own id names it.

    Other arguments are no error of Celery's, which would drop the task: they are a message that is refused, and seen.
    """
    here = _parts()
    message = kwargs["message"] if kwargs.keys() == {"message"} and not args else {"args": args, "kwargs": kwargs}
    accepted = accept_by_name(here.accept, here.refuse, message, task.request.id, here.account_ids, now=utc_now())
    _submit_all(here, accepted)


@app.task(name="sms.take")
def take(lane: str, ids: Sequence[str]) -> None:
    """Sends the messages of these ids, which lie in the intake."""
    here = _parts()
    accepted = accept_from_intake(here.redis, here.accept, here.refuse, lane, ids, here.account_ids, now=utc_now())
    _submit_all(here, accepted)


@app.task(name="sms.submit")
def submit_queued(nos: Sequence[int]) -> None:
    """Submits the submissions of these numbers, one after the other."""
    _submit(_parts(), nos)


@app.task(name="sms.process_push")
def process_kept_push(no: int) -> None:
    """Applies the push of that number."""
    here = _parts()
    patient(process_push, STOPPING.wait)(here.engine, no, here.accounts_of_pushes)


@app.task(name="sms.keep_push")
def keep_push_from_intake(push_id: str) -> None:
    """Moves a push, that came while the ledger was away, from the intake to the ledger, and applies it."""
    here = _parts()
    no = patient(keep_push, STOPPING.wait)(here.engine, here.redis, push_id)
    if no is not None:
        patient(process_push, STOPPING.wait)(here.engine, no, here.accounts_of_pushes)


# Without a traceback each second: that the ledger is away is no fault of the tick, and the next one is due.
@app.task(name="sms.tick", throws=(OperationalError,))
def tick() -> None:
    """What beat has done every second."""
    here = _parts()
    upkeep.tick(
        here.engine,
        here.redis,
        here.account_ids,
        publish_submit=publish_submit,
        publish_take=publish_take,
        publish_push=lambda no: process_kept_push.apply_async((no,), queue=PUSH_QUEUE),
        publish_kept_push=lambda push_id: keep_push_from_intake.apply_async((push_id,), queue=PUSH_QUEUE),
        resend=here.settings.resend_lanes,
        report_wait=here.settings.report_wait,
        now=utc_now(),
    )


@app.task(name="sms.settle", throws=(OperationalError,))
def settle() -> None:
    """What beat has done every minute."""
    upkeep.settle(_parts().engine, now=utc_now())


def publish_submit(lane: str, nos: Sequence[int]) -> None:
    """Publishes a task that submits these submissions."""
    submit_queued.apply_async((list(nos),), queue=LANES[lane].queue)


def publish_take(lane: str, ids: Sequence[str]) -> None:
    """Publishes a task for messages that lie in the intake."""
    take.apply_async((lane, list(ids)), queue=LANES[lane].queue)


@worker_shutting_down.connect
def _stop(**_: Any) -> None:
    STOPPING.set()


def _parts() -> Parts:
    # One thread builds them; the others wait for it.
    with _building:
        return patient(parts, STOPPING.wait)(app.conf.worker_concurrency or 1)


def _submit_all(here: Parts, accepted: Mapping[str, Sequence[int]]) -> None:
    """Submits what was accepted, by lane: one task's share at once, the rest as tasks that other threads can take."""
    for lane, nos in accepted.items():
        share = LANES[lane].per_task
        for start in range(share, len(nos), share):
            publish_submit(lane, nos[start : start + share])
        _submit(here, nos[:share])


def _submit(here: Parts, nos: Sequence[int]) -> None:
    for done, no in enumerate(nos):
        if STOPPING.is_set():
            # Given back to where this task came from, for another worker.
            submit_queued.apply_async((list(nos[done:]),), queue=current_task.request.delivery_info["routing_key"])
            return
        submit(
            no,
            claim=here.claim,
            call=here.call,
            record=here.record,
            keep_gate=here.keep_gate,
            clock=utc_now,
            random=here.random,
            resend=here.settings.resend_lanes,
        )

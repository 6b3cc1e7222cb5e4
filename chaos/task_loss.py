"""Why the intake exists: a busy worker is killed again and again, with messages by SmsClient and with messages by task
name.

Celery on Redis pops a task, and records it as unacknowledged in a second step. A worker that dies in between loses the
task.
"""

import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from random import Random

from celery import Celery
from redis import Redis
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from sqlalchemy import Engine, select

from worker.client import SmsClient
from worker.devstack.signals import deferred_signals
from worker.devstack.stack import Stack, running_stack
from worker.domain.lane import QUEUES
from worker.ledger.engine import open_engine, reading
from worker.ledger.tables import messages
from worker.redis_store import intake
from worker.redis_store.celery_connection import UNACKED_KEY

TIMEOUTS = {"SMS_READ_TIMEOUT": "1", "SMS_CONNECT_TIMEOUT": "1"}
CONCURRENCY = 32
SETTLE_SECONDS = 180

Send = Callable[[str, Sequence[int]], Sequence[str]]
"""Sends the messages of these numbers through the Redis of that URL, each with its own text. Returns their ids."""


def compare(seed: int, count: int, kills: int) -> bool:
    """Sends both ways while the worker is killed, and prints the losses. Returns whether the client lost nothing."""
    table = Table("sent", "messages", "kill -9", "lost", title="Messages gone for good", box=SIMPLE_HEAD)
    lost = {}
    with deferred_signals() as raise_if_interrupted:
        for way, send in (("by SmsClient", _by_client), ("by name", _by_name)):
            print(f"{count} messages {way}, {kills} times kill -9 ...", flush=True)
            lost[way] = _lost(send, Random(seed), count, kills, raise_if_interrupted)
            table.add_row(way, f"{count:,}", str(kills), f"{lost[way]:,}")
    Console().print(table)
    return not lost["by SmsClient"]


def _lost(send: Send, dice: Random, count: int, kills: int, raise_if_interrupted: Callable[[], None]) -> int:
    with (
        tempfile.TemporaryDirectory(prefix="sms-chaos-") as directory,
        running_stack(
            Path(directory), concurrency=CONCURRENCY, settings=TIMEOUTS, raise_if_interrupted=raise_if_interrupted
        ) as stack,
    ):
        sent: set[str] = set()
        engine = open_engine(stack.ledger_url)
        for kill in range(kills):
            before = len(_kept(engine))
            sent |= set(send(stack.redis_url, range(count * kill // kills, count * (kill + 1) // kills)))
            stack.wait_for("the worker at work", partial(_has_more, engine, before))
            _pause(stack, dice.uniform(0, 0.3))
            stack.stop("worker", kill=True)
            stack.start("worker")
        _settle(stack, engine, sent)
        missing = sent - _kept(engine)
        engine.dispose()
    return len(missing)


def _settle(stack: Stack, engine: Engine, sent: set[str]) -> None:
    """Waits until the ledger has all messages, or Redis has none left."""
    deadline = time.monotonic() + SETTLE_SECONDS
    with Redis.from_url(stack.redis_url) as redis:
        while time.monotonic() < deadline and not sent <= _kept(engine):
            left = sum(intake.depth(redis).values()) + redis.hlen(UNACKED_KEY) + sum(map(redis.llen, QUEUES[:-1]))
            _pause(stack, 3)
            if not left and not redis.hlen(UNACKED_KEY):
                return


def _pause(stack: Stack, seconds: float) -> None:
    stack.raise_if_interrupted()
    time.sleep(seconds)


def _has_more(engine: Engine, before: int) -> bool:
    return len(_kept(engine)) > before


def _kept(engine: Engine) -> set[str]:
    with reading(engine) as connection:
        return set(connection.execute(select(messages.c.public_id)).scalars())


def _by_client(redis_url: str, numbers: Sequence[int]) -> Sequence[str]:
    return SmsClient(redis_url).send_many(_message(number) for number in numbers)


def _by_name(redis_url: str, numbers: Sequence[int]) -> Sequence[str]:
    app = Celery(broker=redis_url, set_as_current=False)
    return [
        str(app.send_task("sms.send", kwargs={"message": _message(number)}, queue="sms.notice", ignore_result=True))
        for number in numbers
    ]


def _message(number: int) -> dict[str, str]:
    return {"to": f"139{number:08}", "content": f"您的包裹{number:05}已到"}

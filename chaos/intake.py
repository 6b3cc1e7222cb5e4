"""Why the intake exists: the same messages by SmsClient and by name, and a saturated worker that is killed again and again.

Celery on Redis pops a task and notes it as unacknowledged in a second step; what dies in between takes the task with it.
"""

import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random

from celery import Celery
from redis import Redis
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from sqlalchemy import Engine, select

from worker import intake
from worker.cli.stack import Stack, running_stack, signals_noted
from worker.client import SmsClient
from worker.domain.lane import QUEUES
from worker.ledger.engine import open_engine, reading
from worker.ledger.tables import messages

TIMEOUTS = {"SMS_READ_TIMEOUT": "1", "SMS_CONNECT_TIMEOUT": "1"}
CONCURRENCY = 32
SETTLE_SECONDS = 180
CONTENT = "您的包裹已到"

Send = Callable[[str, Sequence[str]], Sequence[str]]
"""Sends a text to each of the mobiles through the Redis of that URL; the ids of the messages."""


def compare(seed: int, count: int, kills: int) -> bool:
    """Sends by either way, kills, and prints what is missing; whether by the client nothing is."""
    table = Table("sent", "messages", "kill -9", "lost", title="Messages gone for good", box=SIMPLE_HEAD)
    lost = {}
    with signals_noted() as interrupted:
        for way, send in (("by SmsClient", _by_client), ("by name", _by_name)):
            print(f"{count} messages {way}, {kills} times kill -9 ...", flush=True)
            lost[way] = _lost(send, Random(seed), count, kills, interrupted)
            table.add_row(way, f"{count:,}", str(kills), f"{lost[way]:,}")
    Console().print(table)
    return not lost["by SmsClient"]


def _lost(send: Send, dice: Random, count: int, kills: int, interrupted: Callable[[], None]) -> int:
    with (
        tempfile.TemporaryDirectory(prefix="sms-chaos-") as directory,
        running_stack(Path(directory), concurrency=CONCURRENCY, settings=TIMEOUTS, interrupted=interrupted) as stack,
    ):
        sent = set(send(stack.redis_url, [f"139{number:08}" for number in range(count)]))
        engine = open_engine(stack.ledger_url)
        for _ in range(kills):
            _at_work(stack, engine)
            _pause(stack, dice.uniform(0.5, 1.5))
            stack.stop("worker", kill=True)
            stack.start("worker")
        _settle(stack, engine, sent)
        missing = sent - _kept(engine)
        engine.dispose()
    return len(missing)


def _at_work(stack: Stack, engine: Engine) -> None:
    before = len(_kept(engine))
    stack.wait_for("the worker at work", lambda: len(_kept(engine)) > before)


def _settle(stack: Stack, engine: Engine, sent: set[str]) -> None:
    """Waits until all are there, or nothing of them is left in Redis."""
    deadline = time.monotonic() + SETTLE_SECONDS
    with Redis.from_url(stack.redis_url) as redis:
        while time.monotonic() < deadline and not sent <= _kept(engine):
            left = sum(intake.depth(redis).values()) + redis.hlen("unacked") + sum(map(redis.llen, QUEUES[:-1]))
            _pause(stack, 3)
            if not left and not redis.hlen("unacked"):
                return


def _pause(stack: Stack, seconds: float) -> None:
    stack.interrupted()
    time.sleep(seconds)


def _kept(engine: Engine) -> set[str]:
    with reading(engine) as connection:
        return set(connection.execute(select(messages.c.id)).scalars())


def _by_client(redis_url: str, mobiles: Sequence[str]) -> Sequence[str]:
    return SmsClient(redis_url).send_many({"to": mobile, "content": CONTENT} for mobile in mobiles)


def _by_name(redis_url: str, mobiles: Sequence[str]) -> Sequence[str]:
    app = Celery(broker=redis_url, set_as_current=False)
    return [
        str(
            app.send_task(
                "sms.send",
                kwargs={"message": {"to": [mobile], "content": CONTENT}},
                queue="sms.notice",
                ignore_result=True,
            )
        )
        for mobile in mobiles
    ]

"""One run: the sender makes some calls to open its connections, is stopped while everything is enqueued, and goes on.

The time that counts goes from the first call after that to the last outcome: the last record in the ledger, or the last
answer for a sender without a ledger.
"""

import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from celery import Celery
from sqlalchemy import Engine, func, select

from bench.baseline import TASK, message
from bench.harness import paused, wait_while_moving
from bench.meter import Use, meter_of
from worker.client import SmsClient
from worker.devstack.errors import StackError
from worker.devstack.stack import Stack
from worker.devstack.valkey import ANYBODY
from worker.domain.status import State
from worker.ledger.engine import open_engine, reading
from worker.ledger.tables import reports, submissions

Enqueue = Callable[[Sequence[int]], object]
ACCEPTED = submissions.c.state == State.ACCEPTED


@dataclass(frozen=True, slots=True)
class Sender:
    """Who sends: the loop of the baseline (`requests`), its task (`celery`), or this system (`system`)."""

    name: str
    ledger: str | None = None
    pushes: bool = False
    recipients: int = 1
    """Recipients of each message, and so of each call."""
    workers: int = 1
    """Worker processes, which run before the run begins."""

    def __str__(self) -> str:
        more = f" × {self.recipients}" if self.recipients > 1 else ""
        return f"{self.ledger or self.name}{' + pushes' if self.pushes else ''}{more}"

    @property
    def keeps(self) -> set[str]:
        """The processes of the stack that it uses."""
        if self.name == "requests":
            return {"simulator"}
        system = {"worker", "beat"} | ({"callback"} if self.pushes else set())
        return {"simulator", "valkey"} | (system if self.name == "system" else set())


@dataclass(frozen=True, slots=True)
class Case:
    """One sender in one round, against a gateway with that latency."""

    round: int
    latency_ms: int
    sender: Sender


@dataclass(frozen=True, slots=True)
class Figures:
    """The result of one run."""

    called_once: int
    """Messages that the gateway's log has just once. Without all of them there are no figures."""
    enqueue_seconds: float
    seconds: float
    """The time from the first call to the last outcome."""
    calls_per_second: float
    mobiles_per_second: float
    settled_seconds: float
    """The time from the first call until the ledger had all outcomes, and with pushes all reports."""
    used: dict[str, Use]
    """What each process used from when the sender went on until then. `worker` is the sender."""


@dataclass(frozen=True, slots=True)
class Load:
    """How many messages a run sends, and with how many threads."""

    messages: int
    """The messages that are measured."""
    warm: int
    """The messages before them, which open the sender's connections."""
    concurrency: int


def run(stack: Stack, case: Case, load: Load, *, postgres: int, watch: Callable[[int], object]) -> Figures:
    """Sends the messages and returns the figures. `watch` is called with the number of calls so far.

    `postgres` is a process id. Raises StackError if a message is not called just once.
    """
    sender = case.sender
    workers = _trim(stack, sender)
    enqueue = _start(stack, sender, load)
    ledger = open_engine(stack.ledger_url) if sender.ledger else None
    numbers = range(1, 1 + load.warm + load.messages)
    enqueue(numbers[: load.warm])
    _settle(stack, sender, ledger, load.warm, lambda _: None)
    with paused(*(stack.processes[name].pid for name in workers)):
        begun = time.perf_counter()
        enqueue(numbers[load.warm :])
        enqueue_seconds = time.perf_counter() - begun
        meter = meter_of(stack, postgres=postgres if sender.ledger == "postgresql" else None)

    def look(called: int) -> None:
        meter.sample()
        watch(called - load.warm)

    _settle(stack, sender, ledger, len(numbers), look)
    settled_at, used = time.time(), meter.used()
    log = stack.calls(load.warm)
    called_once = _called_once(sender, numbers[load.warm :], log)
    first, last = log[0]["arrived_at"], log[-1]["arrived_at"] + case.latency_ms / 1000
    if ledger:
        last = _last_recorded(ledger)
        ledger.dispose()
    speed = load.messages / (last - first)
    mobile_speed = speed * sender.recipients
    return Figures(called_once, enqueue_seconds, last - first, speed, mobile_speed, settled_at - first, used)


def _trim(stack: Stack, sender: Sender) -> list[str]:
    """Stops the processes that the sender does not need. Returns the names of the workers that were there."""
    if not sender.pushes:
        stack.ask_simulator("behave", {"push_url": None})
    workers = [name for name in stack.processes if name.startswith("worker")]
    if needless := stack.processes.keys() - sender.keeps - set(workers[1:]):
        stack.stop(*needless)
    return workers


def _called_once(sender: Sender, numbers: Sequence[int], log: Sequence[Mapping[str, Any]]) -> int:
    """How many messages were called just once. Raises StackError unless all were."""
    times_called = Counter(mobile for call in log for mobile in call["mobiles"])
    called_once = sum(all(times_called[mobile] == 1 for mobile in _mobiles(number, sender)) for number in numbers)
    count = len(numbers)
    if called_once < count or len(log) > count:
        raise StackError(f"{sender}: of {count} messages {called_once} were called just once, with {len(log)} calls")
    return called_once


def _start(stack: Stack, sender: Sender, load: Load) -> Enqueue:
    """Starts the sender, unless it is the stack's worker. Returns the function that gives it messages."""
    python = sys.executable, "-m"
    if sender.name == "system":
        client = SmsClient(stack.redis_url)
        return lambda numbers: client.send_many(
            {"to": _mobiles(number, sender), "content": message(number)[1]} for number in numbers
        )
    if sender.name == "requests":
        stack.start("worker", *python, "bench.baseline", str(load.concurrency), str(load.messages), role=ANYBODY)
        return len  # nothing to do: it makes the same messages itself
    options = ["--pool", "threads", "--concurrency", str(load.concurrency), "--without-mingle", "--without-gossip"]
    stack.start("worker", *python, "celery", "-A", "bench.baseline", "worker", *options, role=ANYBODY)
    producer = Celery(broker=stack.redis_url, set_as_current=False)
    return lambda numbers: [producer.send_task(TASK, (number,), ignore_result=True) for number in numbers]


def _mobiles(number: int, sender: Sender) -> list[str]:
    """The recipients of the message with that number."""
    if sender.recipients == 1:
        return [message(number)[0]]
    return [message(number * sender.recipients + place)[0] for place in range(sender.recipients)]


def _settle(stack: Stack, sender: Sender, ledger: Engine | None, wanted: int, look: Callable[[int], object]) -> None:
    """Waits until that many messages have been called, and the ledger has all their outcomes and reports."""

    def read() -> tuple[int, int, int, int]:
        summary = stack.ask_simulator("summary")
        called = int(summary["calls_taken"])
        look(called)
        recorded = reported = wanted
        if ledger and called >= wanted:
            recorded, reported = _counts(ledger)
        return called, recorded, reported if sender.pushes else wanted, int(summary["calls_in_flight"])

    wait_while_moving(
        stack,
        read,
        lambda state: min(state[:3]) >= wanted and not state[3],
        lambda state: (
            f"{sender}: of {wanted} messages {state[0]} were called and nothing goes on; in flight: {state[3]}"
        ),
    )


def _counts(ledger: Engine) -> tuple[int, int]:
    """The accepted submissions and the reports in the ledger."""
    with reading(ledger) as connection:
        recorded = connection.scalar(select(func.count()).where(ACCEPTED)) or 0
        return recorded, connection.scalar(select(func.count()).select_from(reports)) or 0


def _last_recorded(ledger: Engine) -> float:
    with reading(ledger) as connection:
        last = connection.execute(select(func.max(submissions.c.updated_at)).where(ACCEPTED)).scalar_one()
    return float(last.timestamp())

"""One run: the sender makes its first calls, so that all its connections are there; it is stopped; everything is enqueued; it
goes on.

What counts is the time from the first call that the gateway then gets to the last outcome: the last record in the ledger, and
for those who keep nothing the last answer.
"""

import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import psutil
from celery import Celery
from sqlalchemy import Engine, func, select

from bench.baseline import TASK, message
from bench.harness import LOOK_SECONDS, calls
from bench.meter import Meter, Use
from worker.client import SmsClient
from worker.devstack.errors import StackError
from worker.devstack.stack import Stack
from worker.devstack.valkey import ANYBODY
from worker.domain.status import State
from worker.ledger.engine import open_engine, reading
from worker.ledger.tables import reports, submissions

STUCK_SECONDS = 60

Enqueue = Callable[[Sequence[int]], object]
ACCEPTED = submissions.c.state == State.ACCEPTED


@dataclass(frozen=True, slots=True)
class Sender:
    """Who sends: `requests`, the bare loop; `celery`, the plain task; `system`, which alone has a ledger and takes pushes."""

    name: str
    ledger: str | None = None
    pushes: bool = False
    recipients: int = 1
    """Of each message, and so of each call."""
    workers: int = 1
    """Processes; they run before the run begins."""

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
    """What is run: one sender in one round, against a gateway that takes so long to answer."""

    round: int
    latency_ms: int
    sender: Sender


@dataclass(frozen=True, slots=True)
class Figures:
    """What came of one run."""

    called_once: int
    """Messages that the gateway's log has exactly once: all of them, or there are no figures."""
    enqueue_seconds: float
    seconds: float
    """From the first call to the last outcome."""
    calls_per_second: float
    mobiles_per_second: float
    settled_seconds: float
    """From the first call until all outcomes, and with pushes all reports, were seen in the ledger."""
    used: dict[str, Use]
    """By each process, until then, from when the sender went on. `worker` is the sender, whichever it is."""


def run(
    stack: Stack,
    case: Case,
    *,
    count: int,
    concurrency: int,
    warm: int,
    postgres: int,
    watch: Callable[[int], object],
) -> Figures:
    """Has `count` messages sent, after `warm` others; `watch` is told how many were called as it goes on.

    `postgres` is the id of that process. Raises StackError if a message is not called, or twice.
    """
    sender = case.sender
    if not sender.pushes:
        stack.ask_simulator("behave", {"push_url": None})
    workers = [name for name in stack.processes if name.startswith("worker")]
    if needless := stack.processes.keys() - sender.keeps - set(workers[1:]):
        stack.stop(*needless)
    enqueue = _start(stack, sender, count, concurrency)
    ledger = open_engine(stack.ledger_url) if sender.ledger else None
    numbers = range(1, 1 + warm + count)
    enqueue(numbers[:warm])
    _settle(stack, sender, ledger, warm, lambda _: None)
    with ExitStack() as stopped:
        for name in workers:
            stopped.enter_context(_stopped(stack.processes[name].pid))
        begun = time.perf_counter()
        enqueue(numbers[warm:])
        enqueue_seconds = time.perf_counter() - begun
        pids = {name: process.pid for name, process in stack.processes.items()}
        meter = Meter(pids | ({"postgres": postgres} if sender.ledger == "postgresql" else {}))

    def look(called: int) -> None:
        meter.sample()
        watch(called - warm)

    _settle(stack, sender, ledger, len(numbers), look)
    settled_at, used = time.time(), meter.used()
    log = calls(stack, since=warm)
    times_called = Counter(mobile for call in log for mobile in call["mobiles"])
    called_once = sum(
        all(times_called[mobile] == 1 for mobile in _mobiles(number, sender)) for number in numbers[warm:]
    )
    if called_once < count or len(log) > count:
        raise StackError(f"{sender}: of {count} messages {called_once} were called just once, with {len(log)} calls")
    first = log[0]["arrived_at"]
    last = log[-1]["arrived_at"] + case.latency_ms / 1000
    if ledger:
        last = _last_recorded(ledger)
        ledger.dispose()
    speed = count / (last - first)
    return Figures(
        called_once, enqueue_seconds, last - first, speed, speed * sender.recipients, settled_at - first, used
    )


def _start(stack: Stack, sender: Sender, count: int, concurrency: int) -> Enqueue:
    """Starts the sender, where it is not the worker of the stack already, and returns how it is given messages."""
    python = sys.executable, "-m"
    if sender.name == "system":
        client = SmsClient(stack.redis_url)
        return lambda numbers: client.send_many(
            {"to": _mobiles(number, sender), "content": message(number)[1]} for number in numbers
        )
    if sender.name == "requests":
        stack.start("worker", *python, "bench.baseline", str(concurrency), str(count), role=ANYBODY)
        return len  # nothing to be done: it has the same messages by itself
    options = ["--pool", "threads", "--concurrency", str(concurrency), "--without-mingle", "--without-gossip"]
    stack.start("worker", *python, "celery", "-A", "bench.baseline", "worker", *options, role=ANYBODY)
    producer = Celery(broker=stack.redis_url, set_as_current=False)
    return lambda numbers: [producer.send_task(TASK, (number,), ignore_result=True) for number in numbers]


def _mobiles(number: int, sender: Sender) -> list[str]:
    """Whom the message of that number goes to."""
    if sender.recipients == 1:
        return [message(number)[0]]
    return [message(number * sender.recipients + place)[0] for place in range(sender.recipients)]


@contextmanager
def _stopped(pid: int) -> Iterator[None]:
    process = psutil.Process(pid)
    process.suspend()
    try:
        yield
    finally:
        process.resume()


def _settle(stack: Stack, sender: Sender, ledger: Engine | None, wanted: int, look: Callable[[int], object]) -> None:
    """Waits until so many messages have been called, and the ledger has all that it should; looks again and again."""
    seen, since = (0, 0, 0), time.monotonic()
    while True:
        stack.check()
        summary = stack.ask_simulator("summary")
        called = summary["calls_taken"]
        look(called)
        recorded = reported = wanted
        if ledger and called >= wanted:
            with reading(ledger) as connection:
                recorded = connection.scalar(select(func.count()).where(ACCEPTED)) or 0
                if sender.pushes:
                    reported = connection.scalar(select(func.count()).select_from(reports)) or 0
        now = called, recorded, reported
        if min(now) >= wanted and not summary["calls_in_flight"]:
            return
        if now != seen:
            seen, since = now, time.monotonic()
        if time.monotonic() - since > STUCK_SECONDS:
            raise StackError(f"{sender}: of {wanted} messages {called} were called and nothing goes on; {summary}")
        time.sleep(LOOK_SECONDS)


def _last_recorded(ledger: Engine) -> float:
    with reading(ledger) as connection:
        return connection.execute(select(func.max(submissions.c.updated_at)).where(ACCEPTED)).scalar_one().timestamp()

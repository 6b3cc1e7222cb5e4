"""`bench memory`: what each process has in memory after few messages and after many, pushes included.

Enqueued in batches, so that as much waits at the beginning as at the end: what grows then is kept for good. The gateway takes
its time, so that a worker makes as many calls at once as it can from the first: each of those is a thread and a connection.
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil
from rich.console import Console
from sqlalchemy import Engine, func, select

from bench.baseline import message
from bench.harness import Frame, frame, table, write
from worker.client import SmsClient
from worker.devstack.errors import StackError
from worker.devstack.stack import Stack
from worker.domain.status import State
from worker.ledger.engine import open_engine, reading
from worker.ledger.tables import reports, submissions

OF_INTEREST = ("worker", "beat", "callback")
LOOK_SECONDS = 0.05
STUCK_SECONDS = 60


@dataclass(frozen=True, slots=True)
class Options:
    after: Sequence[int]
    batch: int
    rest: float
    concurrency: int
    latency_ms: int


@dataclass(frozen=True, slots=True)
class Memory:
    """Of one process, in MB."""

    rss: float
    """Resident: with what it shares with others."""
    pss: float
    """With its part of what it shares."""
    uss: float
    """What is its own alone."""
    threads: int


@dataclass(frozen=True, slots=True)
class Look:
    """How things stood after so many messages, each called once and reported."""

    messages: int
    seconds: float
    """That it took until then, with the rests."""
    memory: Mapping[str, Memory]


def bench_memory(options: Options, results: Path) -> None:
    """Makes the run, writes its figures and prints the table. StackError where a message was called twice."""
    with frame() as around:
        looks = list(_run(options, around))
    write(results, options, [asdict(look) for look in looks])
    _show(looks)


def _run(options: Options, around: Frame) -> Iterator[Look]:
    begun = time.monotonic()
    with (
        around.bar("messages", options.after[-1]) as watch,
        around.stack(concurrency=options.concurrency, latency_ms=options.latency_ms) as stack,
    ):
        client = SmsClient(stack.redis_url)
        ledger = open_engine(stack.ledger_url)
        sent = 0
        for wanted in options.after:
            while sent < wanted:
                part = range(sent + 1, 1 + min(sent + options.batch, wanted))
                client.send_many({"to": to, "content": content} for to, content in map(message, part))
                sent += len(part)
                _wait_for_calls(stack, sent - options.batch, watch)
            _wait_for_calls(stack, wanted, watch)
            stack.wait_for("all outcomes and reports", lambda so_far=sent: _is_settled(ledger, so_far))
            # What is freed a moment after the last report is not counted as kept.
            time.sleep(options.rest)
            if repeated := stack.ask_simulator("summary")["mobiles_repeated_total"]:
                raise StackError(f"{repeated} messages were called twice")
            yield Look(wanted, time.monotonic() - begun, _memory(stack))
        ledger.dispose()


def _wait_for_calls(stack: Stack, wanted: int, watch: Callable[[int], object]) -> None:
    seen, since = -1, time.monotonic()
    while True:
        stack.check()
        called = stack.ask_simulator("summary")["calls_taken"]
        watch(called)
        if called >= wanted:
            return
        if called != seen:
            seen, since = called, time.monotonic()
        if time.monotonic() - since > STUCK_SECONDS:
            raise StackError(f"{called} messages were called, and nothing goes on")
        time.sleep(LOOK_SECONDS)


def _is_settled(ledger: Engine, wanted: int) -> bool:
    with reading(ledger) as connection:
        accepted = connection.scalar(select(func.count()).where(submissions.c.state == State.ACCEPTED)) or 0
        return accepted >= wanted and (connection.scalar(select(func.count()).select_from(reports)) or 0) >= wanted


def _memory(stack: Stack) -> dict[str, Memory]:
    """Of each process by itself: gunicorn's children are numbered."""
    found = {}
    for name in OF_INTEREST:
        root = psutil.Process(stack.processes[name].pid)
        for number, process in enumerate((root, *root.children(recursive=True))):
            full = process.memory_full_info()
            found[f"{name}'s child {number}" if number else name] = Memory(
                full.rss / 2**20, full.pss / 2**20, full.uss / 2**20, process.num_threads()
            )
    return found


def _show(looks: Sequence[Look]) -> None:
    shown = table(
        "Resident memory in MB after so many messages, and what of it is the process' own alone",
        "process",
        *(f"{look.messages:,}" for look in looks),
        "growth",
        "own",
        "growth",
    )
    for name in looks[0].memory:
        rss = [look.memory[name].rss for look in looks]
        uss = [look.memory[name].uss for look in looks]
        shown.add_row(
            name,
            *(f"{one:.0f}" for one in rss),
            f"{rss[-1] / rss[0] - 1:+.1%}",
            f"{uss[-1]:.0f}",
            f"{uss[-1] / uss[0] - 1:+.1%}",
        )
    Console().print(shown)

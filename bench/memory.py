"""`bench memory`: the memory of each process after few messages and after many, pushes included.

Messages are enqueued in batches, so that as much waits at the beginning as at the end, and only lasting growth shows.
The gateway is slow, so that a worker makes as many calls at once as it can from the start: each is a thread and a
connection.
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import psutil
from rich.console import Console
from sqlalchemy import Engine, func, select

from bench.baseline import message
from bench.harness import Harness, calls_taken, open_harness, table, wait_while_moving, write
from worker.client import SmsClient
from worker.devstack.errors import StackError
from worker.devstack.stack import Stack
from worker.domain.status import State
from worker.ledger.engine import open_engine, reading
from worker.ledger.tables import reports, submissions

OF_INTEREST = ("worker", "beat", "callback")
LOOK_SECONDS = 0.05


@dataclass(frozen=True, slots=True)
class Options:
    after: Sequence[int]
    batch: int
    rest: float
    concurrency: int
    latency_ms: int


@dataclass(frozen=True, slots=True)
class Memory:
    """The memory of one process, in MB."""

    rss: float
    """Resident, including memory that is shared with other processes."""
    pss: float
    """Resident, with its part of the shared memory."""
    uss: float
    """Only its own memory."""
    threads: int


@dataclass(frozen=True, slots=True)
class Look:
    """The state after that many messages, each called once and reported."""

    messages: int
    seconds: float
    """The seconds since the start, including the rests."""
    memory: Mapping[str, Memory]


def bench_memory(options: Options, results: Path) -> None:
    """Makes the run, writes the figures and prints the table. Raises StackError if a message was called twice."""
    with open_harness() as harness:
        looks = list(_run(options, harness))
    write(results, options, [asdict(look) for look in looks])
    _show(looks)


def _run(options: Options, harness: Harness) -> Iterator[Look]:
    begun = time.monotonic()
    with (
        harness.bar("messages", options.after[-1]) as watch,
        harness.stack(concurrency=options.concurrency, latency_ms=options.latency_ms) as stack,
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
            stack.wait_for("all outcomes and reports", partial(_is_settled, ledger, sent))
            # Some memory is freed a moment after the last report.
            time.sleep(options.rest)
            if repeated := stack.ask_simulator("summary")["mobiles_repeated_total"]:
                raise StackError(f"{repeated} messages were called twice")
            yield Look(wanted, time.monotonic() - begun, _memory(stack))
        ledger.dispose()


def _wait_for_calls(stack: Stack, wanted: int, watch: Callable[[int], object]) -> None:
    def called() -> int:
        count = calls_taken(stack)
        watch(count)
        return count

    wait_while_moving(
        stack,
        called,
        lambda count: count >= wanted,
        lambda count: f"{count} messages were called, and nothing goes on",
        every=LOOK_SECONDS,
    )


def _is_settled(ledger: Engine, wanted: int) -> bool:
    with reading(ledger) as connection:
        accepted = connection.scalar(select(func.count()).where(submissions.c.state == State.ACCEPTED)) or 0
        return accepted >= wanted and (connection.scalar(select(func.count()).select_from(reports)) or 0) >= wanted


def _memory(stack: Stack) -> dict[str, Memory]:
    """The memory of each process. gunicorn's children are numbered."""
    memory = {}
    for name in OF_INTEREST:
        root = psutil.Process(stack.processes[name].pid)
        for number, process in enumerate((root, *root.children(recursive=True))):
            full = process.memory_full_info()
            memory[f"{name}'s child {number}" if number else name] = Memory(
                full.rss / 2**20, full.pss / 2**20, full.uss / 2**20, process.num_threads()
            )
    return memory


def _show(looks: Sequence[Look]) -> None:
    shown = table(
        "Resident memory in MB after that many messages, and the part that is only the process' own",
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
            *(f"{megabytes:.0f}" for megabytes in rss),
            f"{rss[-1] / rss[0] - 1:+.1%}",
            f"{uss[-1]:.0f}",
            f"{uss[-1] / uss[0] - 1:+.1%}",
        )
    Console().print(shown)

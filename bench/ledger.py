"""`bench ledger`: whether a large ledger is as fast as an empty one, for what goes out and for what comes in.

Afterwards, what grows with the load rather than the ledger (`limits`). Two systems are up at the same time, each with a ledger on PostgreSQL, and are measured by turns: one empties its ledger before
each round, the other has had its own filled.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import psutil
from rich.console import Console
from sqlalchemy import Engine, func, select, text

from bench.baseline import message
from bench.fill import fill
from bench.harness import LOOK_SECONDS, Frame, frame, table, write
from bench.limits import limits
from bench.meter import Meter
from bench.push import Load, push
from worker.client import SmsClient
from worker.devstack.errors import StackError
from worker.devstack.stack import Stack
from worker.domain.status import State
from worker.ledger.engine import open_engine, reading
from worker.ledger.tables import messages, pushes, recipients, refused, replies, reports, submissions

EMPTIED = messages, submissions, recipients, refused, pushes, reports, replies
FIRST_PUSHED = 10**9
"""The msgIds of reports are above those that are filled in, as those of what was sent last are."""
STUCK_SECONDS = 60

MORE_IS_BETTER = {
    "send: calls a second": True,
    "send: CPU ms for a call": False,
    "push of 1,000: items a second": True,
    "push of 1,000: CPU ms for 1,000 items": False,
    "push of 1: items a second": True,
    "push of 1: CPU ms for an item": False,
    "push of 1, paced: p50 in ms": False,
    "push of 1, paced: p99 in ms": False,
}
"""What is measured. The CPU time is that of all the processes together, and says more where others use the machine too."""


@dataclass(frozen=True, slots=True)
class Options:
    recipients: int
    """In the large ledger."""
    messages: int
    """Of one recipient each, that are sent in a round."""
    items: int
    """That come in pushes of 1,000 in a round; a hundredth of them come in pushes of 1."""
    rate: float
    """Pushes a second, where they are paced."""
    seconds: float
    """That they are paced for."""
    concurrency: int
    rounds: int


LEAST = 0.001
"""Of a figure, in a ratio."""


def bench_ledger(options: Options, results: Path) -> None:
    """Makes all the rounds, writes their figures and prints the table. StackError where something was lost."""
    runs: list[dict[str, object]] = []
    with frame() as around:
        large, there = _rounds(options, around, runs)
        with around.bar("what grows with the load", 1):
            engine = open_engine(large.ledger_url)
            bounds = limits(engine)
            engine.dispose()
    measured = [{"recipients": there if run["ledger"] == "large" else 0, **run} for run in runs]
    write(results, options, [*measured, {"recipients": there, "ledger": "large", "limits": bounds}])
    _show(runs, there)
    shown = table("What grows with the load, in the large ledger", "", "")
    for name, figure in bounds.items():
        shown.add_row(name, f"{figure:,.1f}")
    Console().print(shown)


def _rounds(options: Options, around: Frame, runs: list[dict[str, object]]) -> tuple[Stack, int]:
    """Makes all the rounds, whose figures it adds to `runs`; the large ledger's stack, which has ended, and its recipients."""
    with (
        around.stack(concurrency=options.concurrency, latency_ms=0) as empty,
        around.stack(concurrency=options.concurrency, latency_ms=0) as large,
    ):
        with around.bar("filling the large ledger", options.recipients) as watch:
            engine = open_engine(large.ledger_url)
            there = fill(engine, options.recipients, watch)
            engine.dispose()
        for number in around.progress.track(range(options.rounds), description="rounds"):
            _empty(empty)
            # Each goes first as often as the other: what is first does not find the machine as the second does.
            sides = [("empty", empty), ("large", large)]
            for name, stack in reversed(sides) if number % 2 else sides:
                figures = _figures(stack, number, options, around)
                runs.append({"round": number + 1, "ledger": name, "figures": figures})
    return large, there


def _empty(stack: Stack) -> None:
    ledger = open_engine(stack.ledger_url)
    with ledger.begin() as connection:
        connection.execute(text(f"TRUNCATE {', '.join(one.name for one in EMPTIED)}"))
    ledger.dispose()


def _figures(stack: Stack, number: int, options: Options, around: Frame) -> Mapping[str, float]:
    postgres = around.postgres.get_pid()
    with around.bar("sending", options.messages) as watch:
        calls_per_second, cpu = _send(stack, options, postgres, watch)
    big, small = Load(1000, max(1, options.items // 1000)), Load(1, max(1, options.items // 100))
    paced = Load(1, max(1, round(options.rate * options.seconds)), options.rate)
    first = FIRST_PUSHED + number * 10**7
    came = []
    for load in (big, small, paced):
        with around.bar(f"pushes of {load.size:,}, {load}", load.pushes) as watch:
            came.append(push(stack, load, first, postgres, watch))
        first += load.msg_ids
    at_once = [
        (one.applied_per_second, 1000 * sum(one.cpu_seconds.values()) / load.pushes)
        for load, one in zip((big, small), came, strict=False)
    ]
    figures = calls_per_second, 1000 * cpu / options.messages, *at_once[0], *at_once[1], came[2].p50_ms, came[2].p99_ms
    return dict(zip(MORE_IS_BETTER, figures, strict=True))


def _send(stack: Stack, options: Options, postgres: int, watch: Callable[[float], object]) -> tuple[float, float]:
    """Calls a second, from when the worker goes on to the last outcome in the ledger, and CPU seconds. All was enqueued before."""
    stack.ask_simulator("behave", {"push_url": None})
    client = SmsClient(stack.redis_url)
    ledger = open_engine(stack.ledger_url)
    numbers = range(1, 1 + options.messages)
    warm = numbers[: 4 * options.concurrency]
    before = _last(ledger)
    client.send_many({"to": to, "content": content} for to, content in map(message, warm))
    _recorded(stack, ledger, before, len(warm), lambda _: None)
    before = _last(ledger)
    worker = psutil.Process(stack.processes["worker"].pid)
    worker.suspend()
    try:
        client.send_many({"to": to, "content": content} for to, content in map(message, numbers))
        meter = Meter({name: process.pid for name, process in stack.processes.items()} | {"postgres": postgres})
    finally:
        worker.resume()
    begun = time.time()
    last = _recorded(stack, ledger, before, options.messages, watch)
    cpu = sum(use.cpu_seconds for use in meter.used().values())
    ledger.dispose()
    return options.messages / (last - begun), cpu


def _last(ledger: Engine) -> int:
    with reading(ledger) as connection:
        return connection.scalar(select(func.max(submissions.c.id))) or 0


def _recorded(stack: Stack, ledger: Engine, before: int, wanted: int, watch: Callable[[float], object]) -> float:
    """Waits until so many submissions after that one are accepted; when the last one was."""
    accepted = select(func.count(), func.max(submissions.c.updated_at)).where(
        submissions.c.id > before, submissions.c.state == State.ACCEPTED
    )
    seen, since = 0, time.monotonic()
    while True:
        stack.check()
        with reading(ledger) as connection:
            count, last = connection.execute(accepted).one()
        watch(count)
        if count >= wanted:
            return float(last.timestamp())
        if count != seen:
            seen, since = count, time.monotonic()
        if time.monotonic() - since > STUCK_SECONDS:
            raise StackError(f"of {wanted} messages {count} were sent and nothing goes on")
        time.sleep(LOOK_SECONDS)


def _show(runs: Sequence[Mapping[str, object]], there: int) -> None:
    shown = table(f"With {there:,} recipients in the ledger, and with none", "", "empty", "large", "ratio")
    of = {(run["round"], run["ledger"]): run["figures"] for run in runs}
    for name, more in MORE_IS_BETTER.items():
        pairs = [(of[number, "empty"][name], of[number, "large"][name]) for number, side in of if side == "large"]
        # A short run may be over within one tick of the clock that counts CPU time.
        some = [(max(empty, LEAST), max(large, LEAST)) for empty, large in pairs]
        ratio = median(large / empty if more else empty / large for empty, large in some)
        each = (median(values) for values in zip(*pairs, strict=True))
        shown.add_row(name, *(f"{value:,.0f}" if more else f"{value:.1f}" for value in each), f"{ratio:.2f}")
    Console().print(shown)

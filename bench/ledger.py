"""`bench ledger`: whether a large ledger is as fast as an empty one, for sending and for pushes.

Two systems run at the same time, each with a ledger on PostgreSQL, and are measured by turns. One empties its ledger
before each round, the other has a filled one. Then `limits` measures what grows with the load instead of the ledger.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from statistics import median

from rich.console import Console
from sqlalchemy import Engine, func, select, text

from bench.baseline import message
from bench.fill import fill
from bench.harness import Harness, open_harness, paused, table, wait_while_moving, write
from bench.limits import limits
from bench.meter import meter_of
from bench.push import Load, push
from worker.client import SmsClient
from worker.devstack.stack import Stack
from worker.domain.status import State
from worker.ledger.engine import open_engine, reading
from worker.ledger.tables import messages, pushes, recipients, refused, replies, reports, submissions

EMPTIED = messages, submissions, recipients, refused, pushes, reports, replies
FIRST_PUSHED = 10**9
"""The first msgId of reports. It is above those that are filled in, like those of recent messages."""

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
"""The figures. CPU time is that of all processes together. It is more reliable where others use the machine too."""


@dataclass(frozen=True, slots=True)
class Options:
    recipients: int
    """In the large ledger."""
    messages: int
    """Messages of one recipient that are sent in a round."""
    items: int
    """Reports in pushes of 1,000 in a round. A hundredth of that comes in pushes of 1."""
    rate: float
    """Paced pushes a second."""
    seconds: float
    """How long pushes are paced."""
    concurrency: int
    rounds: int


LEAST = 0.001
"""The smallest figure that goes into a ratio."""


@dataclass(frozen=True, slots=True)
class Run:
    """The figures of one side in one round."""

    round: int
    ledger: str
    """`empty` or `large`."""
    figures: Mapping[str, float]


def bench_ledger(options: Options, results: Path) -> None:
    """Makes all the rounds, writes the figures and prints the tables. Raises StackError if something was lost."""
    runs: list[Run] = []
    with open_harness() as harness:
        large, recipients = _rounds(options, harness, runs)
        with harness.bar("what grows with the load", 1):
            engine = open_engine(large.ledger_url)
            bounds = limits(engine)
            engine.dispose()
    measured = [{"recipients": recipients if run.ledger == "large" else 0, **asdict(run)} for run in runs]
    write(results, options, [*measured, {"recipients": recipients, "ledger": "large", "limits": bounds}])
    _show(runs, recipients)
    shown = table("What grows with the load, in the large ledger", "", "")
    for name, figure in bounds.items():
        shown.add_row(name, f"{figure:,.1f}")
    Console().print(shown)


def _rounds(options: Options, harness: Harness, runs: list[Run]) -> tuple[Stack, int]:
    """Makes all the rounds and appends them to `runs`.

    Returns the stack of the large ledger, which has ended, and its recipients.
    """
    with (
        harness.stack(concurrency=options.concurrency, latency_ms=0) as empty,
        harness.stack(concurrency=options.concurrency, latency_ms=0) as large,
    ):
        with harness.bar("filling the large ledger", options.recipients) as watch:
            engine = open_engine(large.ledger_url)
            recipients = fill(engine, options.recipients, watch)
            engine.dispose()
        for number in harness.progress.track(range(options.rounds), description="rounds"):
            _empty(empty)
            # Each side goes first equally often, because the first one finds the machine in another state.
            sides = [("empty", empty), ("large", large)]
            for name, stack in reversed(sides) if number % 2 else sides:
                figures = _figures(stack, number, options, harness)
                runs.append(Run(number + 1, name, figures))
    return large, recipients


def _empty(stack: Stack) -> None:
    ledger = open_engine(stack.ledger_url)
    with ledger.begin() as connection:
        connection.execute(text(f"TRUNCATE {', '.join(emptied.name for emptied in EMPTIED)}"))
    ledger.dispose()


def _figures(stack: Stack, number: int, options: Options, harness: Harness) -> Mapping[str, float]:
    postgres = harness.postgres_pid
    with harness.bar("sending", options.messages) as watch:
        calls_per_second, cpu = _send(stack, options, postgres, watch)
    big, small = Load(1000, max(1, options.items // 1000)), Load(1, max(1, options.items // 100))
    paced = Load(1, max(1, round(options.rate * options.seconds)), options.rate)
    first = FIRST_PUSHED + number * 10**7
    pushed = []
    for load in (big, small, paced):
        with harness.bar(f"pushes of {load.size:,}, {load}", load.pushes) as watch:
            pushed.append(push(stack, load, first, postgres, watch))
        first += load.msg_ids
    at_once = [
        (result.applied_per_second, 1000 * sum(result.cpu_seconds.values()) / load.pushes)
        for load, result in zip((big, small), pushed, strict=False)
    ]
    figures = (
        calls_per_second,
        1000 * cpu / options.messages,
        *at_once[0],
        *at_once[1],
        pushed[2].p50_ms,
        pushed[2].p99_ms,
    )
    return dict(zip(MORE_IS_BETTER, figures, strict=True))


def _send(stack: Stack, options: Options, postgres: int, watch: Callable[[float], object]) -> tuple[float, float]:
    """Calls a second and CPU seconds, from when the paused worker goes on until the ledger has the last outcome."""
    stack.ask_simulator("behave", {"push_url": None})
    client = SmsClient(stack.redis_url)
    ledger = open_engine(stack.ledger_url)
    numbers = range(1, 1 + options.messages)
    warm = numbers[: 4 * options.concurrency]
    before = _last(ledger)
    client.send_many({"to": to, "content": content} for to, content in map(message, warm))
    _recorded(stack, ledger, before, len(warm), lambda _: None)
    before = _last(ledger)
    with paused(stack.processes["worker"].pid):
        client.send_many({"to": to, "content": content} for to, content in map(message, numbers))
        meter = meter_of(stack, postgres=postgres)
    begun = time.time()
    last = _recorded(stack, ledger, before, options.messages, watch)
    cpu = sum(use.cpu_seconds for use in meter.used().values())
    ledger.dispose()
    return options.messages / (last - begun), cpu


def _last(ledger: Engine) -> int:
    with reading(ledger) as connection:
        return connection.scalar(select(func.max(submissions.c.id))) or 0


def _recorded(stack: Stack, ledger: Engine, before: int, wanted: int, watch: Callable[[float], object]) -> float:
    """Waits until that many submissions after `before` are accepted.

    Returns the time of the last one in Unix seconds.
    """
    accepted = select(func.count(), func.max(submissions.c.updated_at)).where(
        submissions.c.id > before, submissions.c.state == State.ACCEPTED
    )

    def read() -> tuple[int, datetime]:
        with reading(ledger) as connection:
            count, last = connection.execute(accepted).one()
        watch(count)
        return count, last

    _, last = wait_while_moving(
        stack,
        read,
        lambda state: state[0] >= wanted,
        lambda state: f"of {wanted} messages {state[0]} were sent and nothing goes on",
    )
    return last.timestamp()


def _show(runs: Sequence[Run], recipients: int) -> None:
    shown = table(f"With {recipients:,} recipients in the ledger, and with none", "", "empty", "large", "ratio")
    figures = {(run.round, run.ledger): run.figures for run in runs}
    rounds = sorted({run.round for run in runs})
    for name, more in MORE_IS_BETTER.items():
        pairs = [(figures[number, "empty"][name], figures[number, "large"][name]) for number in rounds]
        # A short run may be over within one tick of the clock that counts CPU time.
        positive = [(max(empty, LEAST), max(large, LEAST)) for empty, large in pairs]
        ratio = median(large / empty if more else empty / large for empty, large in positive)
        medians = (median(values) for values in zip(*pairs, strict=True))
        shown.add_row(name, *(f"{value:,.0f}" if more else f"{value:.1f}" for value in medians), f"{ratio:.2f}")
    Console().print(shown)

"""`bench push`: how soon pushes are acknowledged, and how fast what they bring is in the ledger.

Each size of push is sent in two ways: paced, at times that are set beforehand, so that a slow answer delays no other and
counts in full; and at once, as fast as a few connections take them. What was applied is counted in the ledger.
"""

import asyncio
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import quantiles

import aiohttp
from rich.console import Console
from sqlalchemy import Engine, func, select

from bench.harness import Frame, frame, table, write
from bench.meter import Machine, Meter
from simulator.push_xml import Report, push_body
from worker.devstack.errors import StackError
from worker.devstack.stack import ACCOUNT, Stack
from worker.ledger.engine import open_engine, reading
from worker.ledger.tables import pushes, reports

LEDGERS = "sqlite", "postgresql"
CONCURRENCY = 16
"""Threads of the worker: what a stack has by itself."""
PACED_ITEMS = 5000
"""A second, at most: of large pushes fewer come than of small ones."""
CONNECTIONS = 8
"""That push at once: as many as gunicorn has threads."""
IDLE_SECONDS = 1
"""After that a connection is not used again: gunicorn closes it after two."""
WARM_UP = 32
LOOK_SECONDS = 0.05
STUCK_SECONDS = 60


@dataclass(frozen=True, slots=True)
class Options:
    sizes: Sequence[int]
    """Items of a push."""
    rate: float
    """Pushes a second, where they are paced."""
    seconds: float
    """That they are paced for."""
    pushes: int
    """That come at once; fewer where they would have more items than that."""
    items: int


@dataclass(frozen=True, slots=True)
class Load:
    """Pushes of so many items each; `rate` of them a second, or, where there is none, at once."""

    size: int
    pushes: int
    rate: float | None = None

    def __str__(self) -> str:
        return f"{self.rate:g}/s" if self.rate else "at once"

    @property
    def msg_ids(self) -> int:
        """How many it uses."""
        return WARM_UP + self.size * self.pushes


@dataclass(frozen=True, slots=True)
class Figures:
    """What came of one load."""

    applied: int
    """Reports that the ledger then has of it, each just once: all of them, or there are no figures."""
    p50_ms: float
    """Until a push was acknowledged: where they are paced, from the time that was set for it."""
    p99_ms: float
    longest_ms: float
    pushed_seconds: float
    """From the first push until all were acknowledged."""
    applied_seconds: float
    """From the first push until all reports were in the ledger."""
    applied_per_second: float
    client_cpu: float
    """How much of a core whoever pushes had, while it did. Near 1, the figures would be its own."""
    cpu_seconds: dict[str, float]
    """By each process, until all was applied."""
    machine_cores: float
    """How many cores were busy meanwhile, with whatever else ran: near all of them, the machine is what is measured."""


def bench_push(options: Options, results: Path) -> None:
    """Makes all the runs, writes their figures and prints the tables. StackError where a report was not applied just once."""
    with frame() as around:
        rows = [
            row
            for ledger in around.progress.track(LEDGERS, description="ledgers")
            for row in _runs(ledger, options, around)
        ]
    write(results, options, [{"ledger": ledger, **asdict(load), **asdict(figures)} for ledger, load, figures in rows])
    _show(rows)


def _runs(ledger: str, options: Options, around: Frame) -> Iterator[tuple[str, Load, Figures]]:
    first = 1
    with around.stack(ledger=ledger, concurrency=CONCURRENCY, latency_ms=0) as stack:
        for load in loads(options):
            with around.bar(f"{ledger}, {load.size:,} items, {load}", load.pushes) as watch:
                yield ledger, load, push(stack, load, first, around.postgres.get_pid(), watch)
            first += load.msg_ids


def loads(options: Options) -> Iterator[Load]:
    """What each ledger gets."""
    for size in options.sizes:
        rate = min(options.rate, PACED_ITEMS / size)
        yield Load(size, max(1, round(rate * options.seconds)), rate)
        yield Load(size, max(1, min(options.pushes, options.items // size)))


def push(stack: Stack, load: Load, first: int, postgres: int, watch: Callable[[float], object]) -> Figures:
    """Pushes reports of the msgIds from `first` on; `watch` is told how many came. Raises StackError if one is not applied.

    `postgres` is the id of that process.
    """
    ledger = open_engine(stack.ledger_url)
    # So that all threads and connections are there.
    _push_all(stack, [_body(first + nth, 1) for nth in range(WARM_UP)], None, lambda _: None)
    _settle(stack, ledger)
    with reading(ledger) as connection:
        before = connection.scalar(select(func.max(pushes.c.id)))
    first += WARM_UP
    bodies = [_body(first + nth * load.size, load.size) for nth in range(load.pushes)]
    pids = {name: process.pid for name, process in stack.processes.items()}
    meter = Meter(pids | ({"postgres": postgres} if ledger.dialect.name == "postgresql" else {}))
    machine = Machine()
    machine.sample()
    begun, cpu_before = time.perf_counter(), time.process_time()
    waited = _push_all(stack, bodies, load.rate, watch)
    pushed, cpu = time.perf_counter() - begun, time.process_time() - cpu_before
    _settle(stack, ledger)
    seconds = time.perf_counter() - begun
    machine.sample()
    used = {name: use.cpu_seconds for name, use in meter.used().items()}
    with reading(ledger) as connection:
        applied = connection.scalar(select(func.count()).where(reports.c.push_id > before)) or 0
    ledger.dispose()
    if applied != load.size * load.pushes:
        raise StackError(f"{load.pushes} pushes of {load.size} reports were acknowledged, {applied} reports are there")
    milliseconds = [1000 * one for one in waited]
    percent = quantiles(milliseconds, n=100, method="inclusive") if len(milliseconds) > 1 else milliseconds * 99
    return Figures(
        applied=applied,
        p50_ms=percent[49],
        p99_ms=percent[98],
        longest_ms=max(milliseconds),
        pushed_seconds=pushed,
        applied_seconds=seconds,
        applied_per_second=applied / seconds,
        client_cpu=cpu / pushed,
        cpu_seconds=used,
        machine_cores=machine.cores_busy(),
    )


def _body(first: int, size: int) -> bytes:
    account = ACCOUNT["SMS_EPR_ID"], ACCOUNT["SMS_USER_ID"]
    return push_body(
        tuple(
            Report(*account, f"138{msg_id % 10**8:08}", str(msg_id), "-1" if msg_id % 20 == 0 else "1")
            for msg_id in range(first, first + size)
        )
    )


def _push_all(
    stack: Stack, bodies: Sequence[bytes], rate: float | None, watch: Callable[[float], object]
) -> Sequence[float]:
    """Pushes them, and how many seconds each waited for its SUCCESS."""
    try:
        return asyncio.run(_paced(stack, bodies, rate, watch) if rate else _at_once(stack, bodies, watch))
    except ExceptionGroup as several:
        # Of those that failed the first says it all.
        raise several.exceptions[0] from None


async def _paced(
    stack: Stack, bodies: Sequence[bytes], rate: float, watch: Callable[[float], object]
) -> Sequence[float]:
    """However late an answer is, the next push has its time; it takes one more connection then."""
    waited: list[float] = []
    async with _session(connections=0) as session, asyncio.TaskGroup() as tasks:
        begun = time.perf_counter()

        async def at(due: float, body: bytes) -> None:
            await _post(stack, session, body)
            waited.append(time.perf_counter() - due)
            watch(len(waited))

        for nth, body in enumerate(bodies):
            due = begun + nth / rate
            await asyncio.sleep(due - time.perf_counter())
            tasks.create_task(at(due, body))
    return waited


async def _at_once(stack: Stack, bodies: Sequence[bytes], watch: Callable[[float], object]) -> Sequence[float]:
    waited: list[float] = []
    left = iter(bodies)
    async with _session(connections=CONNECTIONS) as session, asyncio.TaskGroup() as tasks:

        async def one_after_the_other() -> None:
            for body in left:
                begun = time.perf_counter()
                await _post(stack, session, body)
                waited.append(time.perf_counter() - begun)
                watch(len(waited))

        for _ in range(CONNECTIONS):
            tasks.create_task(one_after_the_other())
    return waited


def _session(*, connections: int) -> aiohttp.ClientSession:
    return aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=connections, keepalive_timeout=IDLE_SECONDS))


async def _post(stack: Stack, session: aiohttp.ClientSession, body: bytes) -> None:
    stack.interrupted()
    async with session.post(stack.environment["SIM_PUSH_URL"], data=body) as response:
        answer = await response.text()
    if (response.status, answer) != (200, "SUCCESS"):
        raise StackError(f"a push was answered with {response.status}: {answer[:200]}")


def _settle(stack: Stack, ledger: Engine) -> None:
    """Waits until no push waits to be read."""
    seen, since = None, time.monotonic()
    while True:
        stack.check()
        with reading(ledger) as connection:
            # By the partial index over these, at any size of the ledger.
            waiting = connection.scalar(select(func.count()).where(pushes.c.due_at.is_not(None)))
        if not waiting:
            return
        if waiting != seen:
            seen, since = waiting, time.monotonic()
        if time.monotonic() - since > STUCK_SECONDS:
            raise StackError(f"{waiting} pushes wait and none is read any more")
        time.sleep(LOOK_SECONDS)


def _show(rows: Sequence[tuple[str, Load, Figures]]) -> None:
    processes = list(dict.fromkeys(name for _, _, figures in rows for name in figures.cpu_seconds))
    case = "ledger", "items", "pushes"
    speed = table(
        "Milliseconds to SUCCESS; acknowledged and applied a second; the client's share of a core; busy cores",
        *case,
        *("p50", "p99", "pushes/s", "items/s", "client", "cores"),
        left=len(case),
    )
    cpu = table("CPU seconds for 10,000 items", *case, *processes, left=len(case))
    for ledger, load, one in rows:
        named = ledger, f"{load.size:,}", str(load)
        speed.add_row(
            *named,
            *(f"{milliseconds:.1f}" for milliseconds in (one.p50_ms, one.p99_ms)),
            f"{load.pushes / one.pushed_seconds:,.0f}",
            f"{one.applied_per_second:,.0f}",
            f"{one.client_cpu:.0%}",
            f"{one.machine_cores:.1f}",
        )
        per_items = 10_000 / one.applied
        cpu.add_row(
            *named,
            *(f"{one.cpu_seconds[name] * per_items:.2f}" if name in one.cpu_seconds else "" for name in processes),
        )
    Console().print(speed, cpu)

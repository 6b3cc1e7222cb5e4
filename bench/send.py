"""`bench send`: how fast messages go out, compared with the baseline: a Celery task and a loop of requests.

Each run has a gateway, a Valkey and a ledger of its own; bench/run.py describes a run.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from bench.harness import Harness, open_harness, write
from bench.report import show
from bench.run import Case, Figures, Load, Sender, run

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
    """Makes all the runs, writes the figures and prints the tables.

    Raises StackError if a message was not called just once.
    """
    cases = [
        Case(number, latency_ms, sender)
        for number in range(1, options.rounds + 1)
        for latency_ms in options.latencies_ms
        for sender in SENDERS
    ]
    with open_harness() as harness:
        tracked = harness.progress.track(cases, description="all runs")
        rows = [(case, _run(case, options, harness)) for case in tracked]
    write(results, options, [{**asdict(case), **asdict(figures)} for case, figures in rows])
    show(rows, options.messages)


def _run(case: Case, options: Options, harness: Harness) -> Figures:
    with (
        harness.bar(f"{case.sender}, {case.latency_ms} ms", options.messages) as watch,
        harness.stack(ledger=case.sender.ledger, concurrency=options.concurrency, latency_ms=case.latency_ms) as stack,
    ):
        return run(
            stack,
            case,
            Load(options.messages, warm=options.concurrency, concurrency=options.concurrency),
            postgres=harness.postgres_pid,
            watch=watch,
        )

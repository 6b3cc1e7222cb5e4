"""`bench scale`: how much more several worker processes send than one, and which part is the limit.

A worker has so few threads that it mostly waits for the gateway; bench/run.py describes a run.
"""

import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from bench.harness import Harness, busiest, more_workers, open_harness, table, write
from bench.meter import Machine
from bench.run import Case, Figures, Load, Sender, run
from worker.domain.lane import CALLS_AT_ONCE

WARM_ROUNDS = 3
"""Calls that each connection of a worker could make before the clock starts, so that all connections are open."""
NEARLY_FULL = 0.85


@dataclass(frozen=True, slots=True)
class Options:
    workers: Sequence[int]
    concurrency: int
    latency_ms: int
    seconds: float


def bench_scale(options: Options, results: Path) -> None:
    """Makes all the runs, writes the figures and prints the tables.

    Raises StackError if a message was not called just once.
    """
    with open_harness() as harness:
        tracked = harness.progress.track(options.workers, description="all runs")
        rows = [(count, *_run(count, options, harness)) for count in tracked]
    write(
        results,
        options,
        [{"workers": count, "machine_cores": cores, **asdict(figures)} for count, figures, cores in rows],
    )
    _show(rows, options)


def _run(count: int, options: Options, harness: Harness) -> tuple[Figures, float]:
    """The figures, and how many cores of the machine were busy, including other programs."""
    # What that many threads could call in that time, if only the gateway took time.
    messages = round(count * _side_by_side(options) / options.latency_ms * 1000 * options.seconds)
    case = Case(1, options.latency_ms, Sender("system", "postgresql", workers=count))
    machine = Machine()

    def look(called: int) -> None:
        machine.sample()
        watch(called)

    with (
        harness.bar(f"{count} workers", messages) as watch,
        harness.stack(concurrency=options.concurrency, latency_ms=options.latency_ms) as stack,
    ):
        more_workers(stack, count, options.concurrency)
        figures = run(
            stack,
            case,
            Load(messages, warm=WARM_ROUNDS * count * _side_by_side(options), concurrency=options.concurrency),
            postgres=harness.postgres_pid,
            watch=look,
        )
    return figures, machine.cores_busy()


def _side_by_side(options: Options) -> int:
    return options.concurrency * CALLS_AT_ONCE


def grouped(figures: Figures) -> dict[str, float]:
    """The CPU seconds of each group of processes. All the workers are one group."""
    groups: dict[str, float] = {}
    for name, use in figures.used.items():
        group = "workers" if name.startswith("worker") else name
        groups[group] = groups.get(group, 0) + use.cpu_seconds
    return groups


def _show(rows: Sequence[tuple[int, Figures, float]], options: Options) -> None:
    speed = table(
        f"Calls a second at {options.latency_ms} ms, {_side_by_side(options)} calls side by side in each worker",
        "workers",
        "calls/s",
        "of n times one",
        "cores used",
        "machine",
        "busiest process",
        left=0,
    )
    single = next((figures.calls_per_second / count for count, figures, _ in rows if count == 1), None)
    for count, figures, machine in rows:
        cores, name = busiest(figures.settled_seconds, {name: use.cpu_seconds for name, use in figures.used.items()})
        speed.add_row(
            str(count),
            f"{figures.calls_per_second:,.0f}",
            "" if single is None else f"{figures.calls_per_second / (count * single):.2f}",
            f"{cores:.2f}",
            f"{machine:.2f}",
            name,
        )
    remarks = [_full_machine(*row) for row in rows if row[2] >= NEARLY_FULL * (os.cpu_count() or 1)]
    Console().print(speed, _cpu_table(rows), *remarks)


def _cpu_table(rows: Sequence[tuple[int, Figures, float]]) -> Table:
    groups = list(dict.fromkeys(name for _, figures, _ in rows for name in grouped(figures)))
    cpu = table("CPU seconds for 1,000 messages", "workers", *groups, left=0)
    for count, figures, _ in rows:
        seconds = grouped(figures)
        cpu.add_row(str(count), *(f"{seconds[name] * 1000 / figures.called_once:.2f}" for name in groups))
    return cpu


def _full_machine(count: int, figures: Figures, machine: float) -> str:
    """A remark on a run in which the machine was full, and on what filled it."""
    seconds = figures.settled_seconds
    groups = grouped(figures)
    name, most = max(groups.items(), key=lambda item: item[1])
    return (
        f"With {count} workers all {os.cpu_count()} cores are full: {machine:.2f} busy, "
        f"{sum(groups.values()) / seconds:.2f} of it by this system, most of that by the {name} ({most / seconds:.2f})."
    )

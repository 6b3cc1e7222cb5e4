"""`bench scale`: how much more several worker processes send than one, and what is full where it is not as many times as much.

A worker has so few threads that one alone waits for the gateway most of its time; bench/run.py tells how a run goes.
"""

import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from rich.console import Console

from bench.harness import Frame, busiest, frame, more_workers, table, write
from bench.meter import Machine
from bench.run import Case, Figures, Sender, run
from worker.domain.lane import CALLS_AT_ONCE

WARM_ROUNDS = 3
"""Each worker's connections are there before the clock starts: so often each of them could have made a call."""
NEARLY_FULL = 0.85


@dataclass(frozen=True, slots=True)
class Options:
    workers: Sequence[int]
    concurrency: int
    latency_ms: int
    seconds: float


def bench_scale(options: Options, results: Path) -> None:
    """Makes all the runs, writes their figures and prints the table. StackError where a message was not called just once."""
    with frame() as around:
        tracked = around.progress.track(options.workers, description="all runs")
        rows = [(count, *_run(count, options, around)) for count in tracked]
    write(
        results,
        options,
        [{"workers": count, "machine_cores": cores, **asdict(figures)} for count, figures, cores in rows],
    )
    _show(rows, options)


def _run(count: int, options: Options, around: Frame) -> tuple[Figures, float]:
    """The figures, and how many cores of the machine were busy, with whatever else ran on it."""
    # What so many threads could call in that time, did nothing but the gateway take any.
    messages = round(count * _side_by_side(options) / options.latency_ms * 1000 * options.seconds)
    case = Case(1, options.latency_ms, Sender("system", "postgresql", workers=count))
    machine = Machine()

    def look(called: int) -> None:
        machine.sample()
        watch(called)

    with (
        around.bar(f"{count} workers", messages) as watch,
        around.stack(concurrency=options.concurrency, latency_ms=options.latency_ms) as stack,
    ):
        more_workers(stack, count, options.concurrency)
        figures = run(
            stack,
            case,
            count=messages,
            concurrency=options.concurrency,
            warm=WARM_ROUNDS * count * _side_by_side(options),
            postgres=around.postgres.get_pid(),
            watch=look,
        )
    return figures, machine.cores_busy()


def _side_by_side(options: Options) -> int:
    return options.concurrency * CALLS_AT_ONCE


def grouped(figures: Figures) -> dict[str, float]:
    """The CPU seconds of each group of processes: all the workers are one."""
    groups: dict[str, float] = {}
    for name, use in figures.used.items():
        group = "workers" if name.startswith("worker") else name
        groups[group] = groups.get(group, 0) + use.cpu_seconds
    return groups


def _show(rows: Sequence[tuple[int, Figures, float]], options: Options) -> None:
    one = next((figures.calls_per_second / count for count, figures, _ in rows if count == 1), None)
    groups = list(dict.fromkeys(name for _, figures, _ in rows for name in grouped(figures)))
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
    cpu = table("CPU seconds for 1,000 messages", "workers", *groups, left=0)
    full = []
    for count, figures, machine in rows:
        seconds = figures.settled_seconds
        cores, who = busiest(seconds, {name: use.cpu_seconds for name, use in figures.used.items()})
        speed.add_row(
            str(count),
            f"{figures.calls_per_second:,.0f}",
            "" if one is None else f"{figures.calls_per_second / (count * one):.2f}",
            f"{cores:.2f}",
            f"{machine:.2f}",
            who,
        )
        cpu.add_row(str(count), *(f"{grouped(figures)[name] * 1000 / figures.called_once:.2f}" for name in groups))
        if machine >= NEARLY_FULL * (os.cpu_count() or 1):
            most = max(grouped(figures).items(), key=lambda item: item[1])
            full.append(
                f"With {count} workers all {os.cpu_count()} cores are full: {machine:.2f} busy, {cores:.2f} of it by this "
                f"system, most of that by the {most[0]} ({most[1] / seconds:.2f})."
            )
    Console().print(speed, cpu, *full)

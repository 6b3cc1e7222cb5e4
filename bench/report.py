"""The figures as tables: speed and cost, as the median of the rounds."""

from collections.abc import Callable, Sequence
from statistics import median

from rich.console import Console

from bench.harness import table
from bench.meter import Use
from bench.run import Case, Figures, Sender

Rows = Sequence[tuple[Case, Figures]]


def show(rows: Rows, messages: int) -> None:
    """Prints the tables. `messages` is how many each run sent."""
    processes = list(dict.fromkeys(name for _, figures in rows for name in figures.used))
    speed = table(
        "Calls and mobiles a second; sqlite and postgresql are this system, by its ledger",
        "sender",
        "ms",
        "calls/s",
        "mobiles",
        "of celery",
        "of requests",
        "enqueue",
        "settled",
    )
    cpu = table("CPU seconds for 1,000 calls; the worker is the sender", "sender", "ms", *processes)
    memory = table("Memory at its peak, in MB", "sender", "ms", *processes)
    for latency_ms, sender in dict.fromkeys((case.latency_ms, case.sender) for case, _ in rows):
        ran = [figures for case, figures in rows if (case.latency_ms, case.sender) == (latency_ms, sender)]
        named = str(sender), str(latency_ms)
        speed.add_row(
            *named,
            f"{median(figures.calls_per_second for figures in ran):,.0f}",
            f"{median(figures.mobiles_per_second for figures in ran):,.0f}",
            *(f"{ratio(rows, latency_ms, sender, Sender(baseline)):.2f}" for baseline in ("celery", "requests")),
            f"{median(figures.enqueue_seconds for figures in ran):.2f} s",
            f"{median(figures.settled_seconds for figures in ran):.1f} s",
        )
        cpu.add_row(*named, *_each(processes, ran, ".2f", lambda use: use.cpu_seconds * 1000 / messages))
        memory.add_row(*named, *_each(processes, ran, ".0f", lambda use: use.peak_mb))
    Console().print(speed, cpu, memory)


def ratio(rows: Rows, latency_ms: int, sender: Sender, baseline: Sender) -> float:
    """The mobiles a second of a sender, as a multiple of the baseline's.

    Compared within each round, as machines change speed.
    """
    speed = {case: figures.mobiles_per_second for case, figures in rows}
    return median(
        speed[Case(number, latency_ms, sender)] / speed[Case(number, latency_ms, baseline)]
        for number in {case.round for case in speed}
    )


def _each(processes: Sequence[str], ran: Sequence[Figures], shown: str, value: Callable[[Use], float]) -> list[str]:
    return [
        format(median(value(figures.used[name]) for figures in ran), shown) if name in ran[0].used else ""
        for name in processes
    ]

"""The figures as tables: how fast, and at what cost. Of several rounds it is the median."""

from collections.abc import Callable, Sequence
from statistics import median

from rich.console import Console

from bench.harness import table
from bench.meter import Use
from bench.run import Case, Figures, Sender

Rows = Sequence[tuple[Case, Figures]]


def show(rows: Rows, messages: int) -> None:
    """Prints the tables; `messages` is how many each run sent."""
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
    cpu = table("CPU seconds for 1,000 calls; the worker is whoever sends", "sender", "ms", *processes)
    memory = table("Memory at its peak, in MB", "sender", "ms", *processes)
    for latency_ms, sender in dict.fromkeys((case.latency_ms, case.sender) for case, _ in rows):
        ran = [figures for case, figures in rows if (case.latency_ms, case.sender) == (latency_ms, sender)]
        named = str(sender), str(latency_ms)
        speed.add_row(
            *named,
            f"{median(one.calls_per_second for one in ran):,.0f}",
            f"{median(one.mobiles_per_second for one in ran):,.0f}",
            *(f"{ratio(rows, latency_ms, sender, Sender(of)):.2f}" for of in ("celery", "requests")),
            f"{median(one.enqueue_seconds for one in ran):.2f} s",
            f"{median(one.settled_seconds for one in ran):.1f} s",
        )
        cpu.add_row(*named, *_each(processes, ran, ".2f", lambda use: use.cpu_seconds * 1000 / messages))
        memory.add_row(*named, *_each(processes, ran, ".0f", lambda use: use.peak_mb))
    Console().print(speed, cpu, memory)


def ratio(rows: Rows, latency_ms: int, sender: Sender, of: Sender) -> float:
    """How many mobiles a sender reaches, compared with another: within each round, for a machine is not as fast in the next."""
    speed = {case: figures.mobiles_per_second for case, figures in rows}
    return median(
        speed[Case(number, latency_ms, sender)] / speed[Case(number, latency_ms, of)]
        for number in {case.round for case in speed}
    )


def _each(processes: Sequence[str], ran: Sequence[Figures], shown: str, value: Callable[[Use], float]) -> list[str]:
    return [
        format(median(value(one.used[name]) for one in ran), shown) if name in ran[0].used else "" for name in processes
    ]

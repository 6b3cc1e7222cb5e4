"""`bench rate`: whether several workers together keep to an account's rate, and use it up, by the simulator's log.

More messages wait than may go out at any time. The mean begins when the bucket, which is full at first, is empty.
"""

import time
from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from redis import Redis
from rich.console import Console

from bench.baseline import message
from bench.harness import LOOK_SECONDS, Harness, busiest, calls_taken, more_workers, open_harness, table, write
from bench.meter import Machine, meter_of
from worker.client import SmsClient
from worker.devstack.errors import StackError
from worker.devstack.stack import Stack
from worker.domain.rate import BURST_SECONDS, LEAST_BURST

AHEAD_SECONDS = 3
"""How far the enqueued messages are ahead of what may go out."""
EMPTIED_AFTER_SECONDS = 1
STUCK_SECONDS = 60


@dataclass(frozen=True, slots=True)
class Options:
    workers: Sequence[int]
    rates: Sequence[int]
    concurrency: int
    latency_ms: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Figures:
    """The result of one run."""

    workers: int
    rate: int
    mean: float
    """Calls a second."""
    deviation: float
    """Deviation of the mean from the rate, as a share of the rate."""
    most_in_a_second: int
    """The most calls in any sliding second."""
    allowed: float
    """The most calls that a second may have: the rate, and what a full bucket holds (worker/redis_store/rate.lua)."""
    asked_per_second: float
    """How often Redis was asked for tokens."""
    cores_used: float
    busiest: str
    machine_cores: float
    """Busy cores, including other programs. On a full machine calls come late, and then together."""


def bench_rate(options: Options, results: Path) -> None:
    """Makes all the runs, writes the figures and prints the table. Raises StackError if a message was called twice."""
    cases = [(rate, count) for rate in options.rates for count in options.workers]
    with open_harness() as harness:
        tracked = harness.progress.track(cases, description="all runs")
        rows = [_run(count, rate, options, harness) for rate, count in tracked]
    write(results, options, [asdict(figures) for figures in rows])
    _show(rows)


def _run(count: int, rate: int, options: Options, harness: Harness) -> Figures:
    with (
        harness.bar(f"{count} workers at {rate} a second", options.seconds) as watch,
        harness.stack(
            concurrency=options.concurrency, latency_ms=options.latency_ms, settings={"SMS_RATE": str(rate)}
        ) as stack,
    ):
        stack.ask_simulator("behave", {"push_url": None})
        stack.stop("callback")
        more_workers(stack, count, options.concurrency)
        machine = Machine()

        def look(called: int) -> None:
            machine.sample()
            watch(called / rate)

        used = _measured(stack, harness.postgres_pid, lambda: _keep_busy(stack, rate, look, options.seconds))
        arrived = _arrived(stack)
    mean = _mean(arrived, options.seconds)
    return Figures(
        workers=count,
        rate=rate,
        mean=mean,
        deviation=mean / rate - 1,
        most_in_a_second=_most_in_a_second(arrived),
        allowed=rate + max(rate * BURST_SECONDS, LEAST_BURST),
        asked_per_second=used.asked_per_second,
        cores_used=used.cores,
        busiest=used.busiest,
        machine_cores=machine.cores_busy(),
    )


@dataclass(frozen=True, slots=True)
class _Used:
    asked_per_second: float
    cores: float
    busiest: str


def _measured(stack: Stack, postgres: int, work: Callable[[], object]) -> _Used:
    """What the system used while the work was done."""
    with Redis.from_url(stack.redis_url) as redis:
        meter = meter_of(stack, postgres=postgres)
        begun, asked = time.monotonic(), _asked(redis)
        work()
        seconds = time.monotonic() - begun
        cores, name = busiest(seconds, {name: use.cpu_seconds for name, use in meter.used().items()})
        return _Used((_asked(redis) - asked) / seconds, cores, name)


def _arrived(stack: Stack) -> list[float]:
    """The times of all calls, in order. Raises StackError if a message was called twice."""
    log = stack.calls()
    mobiles = [mobile for call in log for mobile in call["mobiles"]]
    if len(set(mobiles)) < len(mobiles):
        raise StackError(f"{len(mobiles) - len(set(mobiles))} messages were called twice")
    return sorted(call["monotonic"] for call in log)


def _keep_busy(stack: Stack, rate: int, watch: Callable[[int], object], seconds: float) -> None:
    """Enqueues ahead of the calls, until calls have been made for that long."""
    client = SmsClient(stack.redis_url)
    sent, first = 0, 0.0
    deadline = time.monotonic() + STUCK_SECONDS
    while True:
        stack.check()
        called = calls_taken(stack)
        watch(called)
        first = first or (time.monotonic() if called else 0)
        if first and time.monotonic() > first + EMPTIED_AFTER_SECONDS + seconds:
            return
        if not first and time.monotonic() > deadline:
            raise StackError("no message was called")
        if (wanted := called + AHEAD_SECONDS * rate) > sent:
            numbers = range(sent + 1, wanted + 1)
            client.send_many({"to": to, "content": content} for to, content in map(message, numbers))
            sent = wanted
        time.sleep(LOOK_SECONDS)


def _mean(arrived: Sequence[float], seconds: float) -> float:
    """Calls a second in the `seconds` that begin when the bucket is empty."""
    begun = arrived[0] + EMPTIED_AFTER_SECONDS
    return (bisect_left(arrived, begun + seconds) - bisect_left(arrived, begun)) / seconds


def _most_in_a_second(arrived: Sequence[float]) -> int:
    return max(bisect_left(arrived, at + 1) - place for place, at in enumerate(arrived))


def _asked(redis: Redis) -> int:
    # Only the bucket's script is run by its hash, and now and then Celery's clean-up of unacknowledged tasks.
    return int(redis.info("commandstats").get("cmdstat_evalsha", {}).get("calls", 0))


def _show(rows: Sequence[Figures]) -> None:
    shown = table(
        "Calls a second of the account: the mean, and most in any sliding second",
        "limit",
        "workers",
        "mean",
        "off by",
        "most/s",
        "allowed",
        "asked/s",
        "cores used",
        "machine",
        left=0,
    )
    for figures in rows:
        shown.add_row(
            str(figures.rate),
            str(figures.workers),
            f"{figures.mean:.1f}",
            f"{figures.deviation:+.2%}",
            str(figures.most_in_a_second),
            f"{figures.allowed:.0f}",
            f"{figures.asked_per_second:.0f}",
            f"{figures.cores_used:.2f}",
            f"{figures.machine_cores:.2f}",
        )
    Console().print(shown)

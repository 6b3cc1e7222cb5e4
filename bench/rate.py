"""`bench rate`: whether several workers together keep to the rate of an account, and use it up. The simulator's log judges.

Always more waits than may go out. The mean is that of a time which begins when the bucket, full at first, has been emptied.
"""

import time
from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from redis import Redis
from rich.console import Console

from bench.baseline import message
from bench.harness import LOOK_SECONDS, Frame, busiest, calls, frame, more_workers, table, write
from bench.meter import Machine, Meter
from worker.client import SmsClient
from worker.devstack.errors import StackError
from worker.devstack.stack import Stack
from worker.domain.rate import BURST_SECONDS, LEAST_BURST

AHEAD_SECONDS = 3
"""So much more than may go out by now is always enqueued."""
EMPTIED_AFTER_SECONDS = 1
STUCK_SECONDS = 60
"""What a bucket holds: worker/redis_store/rate.lua."""


@dataclass(frozen=True, slots=True)
class Options:
    workers: Sequence[int]
    rates: Sequence[int]
    concurrency: int
    latency_ms: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Figures:
    """What came of one run."""

    workers: int
    rate: int
    mean: float
    """Calls a second."""
    deviation: float
    """Of the mean from the rate, as a share of that."""
    most_in_a_second: int
    """Calls in the sliding second that had most, from the first call on."""
    allowed: float
    """So many may be in one: the rate, and what a full bucket holds."""
    asked_per_second: float
    """How often Redis was asked for tokens."""
    cores_used: float
    busiest: str
    machine_cores: float
    """How many were busy, with whatever else ran: on a full machine calls come late, and then together."""


def bench_rate(options: Options, results: Path) -> None:
    """Makes all the runs, writes their figures and prints the table. StackError where a message was called twice."""
    cases = [(rate, count) for rate in options.rates for count in options.workers]
    with frame() as around:
        tracked = around.progress.track(cases, description="all runs")
        rows = [_run(count, rate, options, around) for rate, count in tracked]
    write(results, options, [asdict(one) for one in rows])
    _show(rows)


def _run(count: int, rate: int, options: Options, around: Frame) -> Figures:
    with (
        around.bar(f"{count} workers at {rate} a second", options.seconds) as watch,
        around.stack(
            concurrency=options.concurrency, latency_ms=options.latency_ms, settings={"SMS_RATE": str(rate)}
        ) as stack,
    ):
        stack.ask_simulator("behave", {"push_url": None})
        stack.stop("callback")
        workers = more_workers(stack, count, options.concurrency)
        with Redis.from_url(stack.redis_url) as redis:
            pids = {name: stack.processes[name].pid for name in (*workers, "valkey", "simulator")}
            meter = Meter(pids | {"postgres": around.postgres.get_pid()})
            begun, asked = time.monotonic(), _asked(redis)
            machine = Machine()

            def look(called: int) -> None:
                machine.sample()
                watch(called / rate)

            _keep_busy(stack, rate, look, options.seconds)
            lasted = time.monotonic() - begun
            asked_per_second = (_asked(redis) - asked) / lasted
            used = {name: use.cpu_seconds for name, use in meter.used().items()}
        log = calls(stack)
    mobiles = [mobile for call in log for mobile in call["mobiles"]]
    if len(set(mobiles)) < len(mobiles):
        raise StackError(f"{len(mobiles) - len(set(mobiles))} messages were called twice")
    arrived = sorted(call["monotonic"] for call in log)
    mean = _mean(arrived, options.seconds)
    cores_used, name = busiest(lasted, used)
    allowed = rate + max(rate * BURST_SECONDS, LEAST_BURST)
    return Figures(
        workers=count,
        rate=rate,
        mean=mean,
        deviation=mean / rate - 1,
        most_in_a_second=_most_in_a_second(arrived),
        allowed=allowed,
        asked_per_second=asked_per_second,
        cores_used=cores_used,
        busiest=name,
        machine_cores=machine.cores_busy(),
    )


def _keep_busy(stack: Stack, rate: int, watch: Callable[[int], object], seconds: float) -> None:
    """Enqueues ahead of what is called, until calls have been made for so long."""
    client = SmsClient(stack.redis_url)
    sent, first = 0, 0.0
    deadline = time.monotonic() + STUCK_SECONDS
    while True:
        stack.check()
        called = stack.ask_simulator("summary")["calls_taken"]
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
    """Calls a second in the `seconds` that begin when the bucket has been emptied."""
    begun = arrived[0] + EMPTIED_AFTER_SECONDS
    return (bisect_left(arrived, begun + seconds) - bisect_left(arrived, begun)) / seconds


def _most_in_a_second(arrived: Sequence[float]) -> int:
    return max(bisect_left(arrived, at + 1) - place for place, at in enumerate(arrived))


def _asked(redis: Redis) -> int:
    # The bucket is the one script that is run by its hash; only Celery's clean-up of unacked tasks does the same, now and then.
    found: int = redis.info("commandstats").get("cmdstat_evalsha", {}).get("calls", 0)
    return found


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
    for one in rows:
        shown.add_row(
            str(one.rate),
            str(one.workers),
            f"{one.mean:.1f}",
            f"{one.deviation:+.2%}",
            str(one.most_in_a_second),
            f"{one.allowed:.0f}",
            f"{one.asked_per_second:.0f}",
            f"{one.cores_used:.2f}",
            f"{one.machine_cores:.2f}",
        )
    Console().print(shown)

"""`bench otp`: how soon an OTP is called while a great campaign waits and takes all of the account's rate.

From just before `SmsClient.send` to when the call arrives at the gateway, both by the clock of this machine.
"""

import tempfile
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median

from rich.console import Console
from sqlalchemy import func, select

from bench.harness import Frame, calls, frame, table, wait_for_workers, write
from bench.marketing import fill_in
from worker.client import SmsClient
from worker.devstack.errors import StackError
from worker.devstack.stack import Stack, start_worker
from worker.domain.lane import LANES, QUEUES
from worker.ledger.engine import open_engine, reading
from worker.ledger.sending.submissions import TO_BE_SENT
from worker.ledger.tables import submissions

OTP_QUEUE = LANES["otp"].queue
FULL_RATE_SECONDS = 3
"""So long the campaign runs before the first OTP."""
STUCK_SECONDS = 120


@dataclass(frozen=True, slots=True)
class Options:
    recipients: int
    to_a_call: Sequence[int]
    rates: Sequence[int]
    pace: float
    seconds: float
    concurrency: int
    latency_ms: int


@dataclass(frozen=True, slots=True)
class Case:
    rate: int
    to_a_call: int
    own_worker: bool
    """Whether OTPs have a worker of their own, beside one for all the rest; else one worker is there for all."""


@dataclass(frozen=True, slots=True)
class Figures:
    """What came of one run. Times are in seconds."""

    called_once: int
    """OTPs that the gateway's log has exactly once: all of them, or there are no figures."""
    p50: float
    p99: float
    max: float
    enqueue_max: float
    """Of that, how long `send` itself took at most."""
    calls_per_second: float
    """Of the account while OTPs were sent, OTPs and marketing together."""
    marketing_left: int
    """Calls that still waited at the end: never none, or there are no figures."""
    latencies: Sequence[float]


def bench_otp(options: Options, results: Path) -> None:
    """Makes all the runs, writes their figures and prints the table. StackError where an OTP was not called just once."""
    cases = [
        Case(rate, to_a_call, own_worker)
        for to_a_call in options.to_a_call
        for rate in options.rates
        for own_worker in (False, True)
    ]
    with frame() as around:
        tracked = around.progress.track(cases, description="all runs")
        rows = [(case, _run(case, options, around)) for case in tracked]
    write(results, options, [{**asdict(case), **asdict(figures)} for case, figures in rows])
    _show(rows, options)


def _run(case: Case, options: Options, around: Frame) -> Figures:
    with (
        _at_any_hour() as config,
        around.stack(
            concurrency=options.concurrency,
            latency_ms=options.latency_ms,
            settings={"SMS_RATE": str(case.rate), "SMS_CONFIG": config},
        ) as stack,
    ):
        stack.ask_simulator("behave", {"push_url": None})
        stack.stop("callback")
        if case.own_worker:
            stack.stop("worker")
            start_worker(stack, "worker", options.concurrency, [name for name in QUEUES if name != OTP_QUEUE])
            start_worker(stack, "otp-worker", options.concurrency, [OTP_QUEUE])
            wait_for_workers(stack, 2)
        ledger = open_engine(stack.ledger_url)
        with around.bar(f"filling in {options.recipients:,} recipients", options.recipients) as watch:
            fill_in(ledger, options.recipients, case.to_a_call, watch=watch)
        # A bucket that is full at first is empty then.
        stack.wait_for(
            "marketing at its rate", lambda: _called(stack) > FULL_RATE_SECONDS * case.rate, seconds=STUCK_SECONDS
        )
        count = round(options.pace * options.seconds)
        with around.bar(f"{count} OTPs at {case.rate} calls a second", count) as watch:
            before, begun = _called(stack), time.monotonic()
            sent = _send(stack, count, options.pace, watch)
            calls_per_second = (_called(stack) - before) / (time.monotonic() - begun)
        with reading(ledger) as connection:
            left = connection.scalar(select(func.count()).where(TO_BE_SENT, submissions.c.lane == "marketing")) or 0
        if not left:
            raise StackError(f"all the marketing went out before the last OTP; take more --recipients ({case})")
        arrived = _arrived(stack, sent.keys(), before)
        ledger.dispose()
    latencies = sorted(arrived[mobile] - at for mobile, (at, _) in sent.items())
    return Figures(
        called_once=len(latencies),
        p50=median(latencies),
        p99=latencies[-(-99 * len(latencies) // 100) - 1],
        max=latencies[-1],
        enqueue_max=max(took for _, took in sent.values()),
        calls_per_second=calls_per_second,
        marketing_left=left,
        latencies=[round(arrived[mobile] - at, 4) for mobile, (at, _) in sent.items()],
    )


@contextmanager
def _at_any_hour() -> Iterator[str]:
    """The path of a configuration that lets marketing go out by night too."""
    with tempfile.NamedTemporaryFile("w", suffix=".toml") as file:
        file.write('[lanes.marketing]\nhours = "always"\n')
        file.flush()
        yield file.name


def _send(stack: Stack, count: int, pace: float, watch: Callable[[int], object]) -> dict[str, tuple[float, float]]:
    """Sends OTPs at that pace, whatever becomes of them; by mobile, when each was and how long `send` took."""
    client = SmsClient(stack.redis_url)
    sent = {}
    begun = time.monotonic()
    for number in range(count):
        time.sleep(max(0, begun + number / pace - time.monotonic()))
        stack.check()
        mobile, at = f"199{number:08}", time.time()
        client.send(mobile, f"您的验证码是{number:06}，5分钟内有效。", lane="otp")
        sent[mobile] = at, time.time() - at
        watch(number + 1)
    return sent


def _arrived(stack: Stack, mobiles: Collection[str], since: int) -> dict[str, float]:
    """When the call of each OTP arrived. StackError unless each got just one."""
    deadline = time.monotonic() + STUCK_SECONDS
    found: list[tuple[str, float]] = []
    while len(found) < len(mobiles):
        stack.check()
        if time.monotonic() > deadline:
            raise StackError(f"of {len(mobiles)} OTPs {len(found)} were called, and no more come")
        log = calls(stack, since)
        since += len(log)
        found += [(call["mobiles"][0], call["arrived_at"]) for call in log if call["mobiles"][0] in mobiles]
    if len(dict(found)) < len(found):
        raise StackError(f"{len(found) - len(dict(found))} OTPs were called twice")
    return dict(found)


def _called(stack: Stack) -> int:
    return stack.ask_simulator("summary")["calls_taken"]


def _show(rows: Sequence[tuple[Case, Figures]], options: Options) -> None:
    shown = table(
        f"From send() to the call of an OTP, {options.recipients:,} marketing recipients waiting",
        "OTPs have",
        "calls of",
        "limit",
        "calls/s",
        "p50",
        "p99",
        "max",
        "max send()",
    )
    for case, figures in rows:
        shown.add_row(
            "a worker of their own" if case.own_worker else "the only worker",
            str(case.to_a_call),
            str(case.rate),
            f"{figures.calls_per_second:.0f}",
            *(f"{1000 * one:.0f} ms" for one in (figures.p50, figures.p99, figures.max, figures.enqueue_max)),
        )
    Console().print(shown)

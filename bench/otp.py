"""`bench otp`: how soon an OTP is called while a large campaign waits and uses up the account's rate.

The time goes from just before `SmsClient.send` to the arrival of the call at the gateway, by the clock of this machine.
"""

import tempfile
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median

from rich.console import Console
from sqlalchemy import Engine, func, select

from bench.harness import Harness, calls_taken, open_harness, table, wait_for_workers, write
from bench.marketing import fill_in
from bench.meter import p99
from worker.client import SmsClient
from worker.devstack.errors import StackError
from worker.devstack.stack import Stack, start_worker
from worker.domain.lane import LANES, QUEUES
from worker.ledger.engine import open_engine, reading
from worker.ledger.sending.submissions import TO_BE_SENT
from worker.ledger.tables import submissions

OTP_QUEUE = LANES["otp"].queue
FULL_RATE_SECONDS = 3
"""How long the campaign runs before the first OTP."""
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
    """Whether OTPs have a worker of their own beside one for the other lanes. Otherwise one worker serves all lanes."""


@dataclass(frozen=True, slots=True)
class Figures:
    """The result of one run. Times are in seconds."""

    called_once: int
    """OTPs that the gateway's log has just once. Without all of them there are no figures."""
    p50: float
    p99: float
    max: float
    enqueue_max: float
    """The longest time that `send` itself took."""
    calls_per_second: float
    """OTPs and marketing together, while OTPs were sent."""
    marketing_left: int
    """Calls that still waited at the end. Without any there are no figures."""
    latencies: Sequence[float]


def bench_otp(options: Options, results: Path) -> None:
    """Makes all the runs, writes the figures and prints the table.

    Raises StackError if an OTP was not called just once.
    """
    cases = [
        Case(rate, to_a_call, own_worker)
        for to_a_call in options.to_a_call
        for rate in options.rates
        for own_worker in (False, True)
    ]
    with open_harness() as harness:
        tracked = harness.progress.track(cases, description="all runs")
        rows = [(case, _run(case, options, harness)) for case in tracked]
    write(results, options, [{**asdict(case), **asdict(figures)} for case, figures in rows])
    _show(rows, options)


def _run(case: Case, options: Options, harness: Harness) -> Figures:
    with (
        _at_any_hour() as config,
        harness.stack(
            concurrency=options.concurrency,
            latency_ms=options.latency_ms,
            settings={"SMS_RATE": str(case.rate), "SMS_CONFIG": config},
        ) as stack,
    ):
        _trim(stack, case, options.concurrency)
        ledger = open_engine(stack.ledger_url)
        with harness.bar(f"filling in {options.recipients:,} recipients", options.recipients) as watch:
            fill_in(ledger, options.recipients, case.to_a_call, watch=watch)
        # By then the bucket, which is full at first, is empty.
        stack.wait_for(
            "marketing at its rate", lambda: calls_taken(stack) > FULL_RATE_SECONDS * case.rate, seconds=STUCK_SECONDS
        )
        count = round(options.pace * options.seconds)
        with harness.bar(f"{count} OTPs at {case.rate} calls a second", count) as watch:
            before, begun = calls_taken(stack), time.monotonic()
            sent = _send(stack, count, options.pace, watch)
            calls_per_second = (calls_taken(stack) - before) / (time.monotonic() - begun)
        left = _marketing_left(ledger, case)
        arrived = _arrived(stack, sent.keys(), before)
        ledger.dispose()
    return _figures(sent, arrived, calls_per_second, left)


def _trim(stack: Stack, case: Case, concurrency: int) -> None:
    """Stops the callback app, and gives OTPs a worker of their own where the case has one."""
    stack.ask_simulator("behave", {"push_url": None})
    stack.stop("callback")
    if case.own_worker:
        stack.stop("worker")
        start_worker(stack, "worker", concurrency, [name for name in QUEUES if name != OTP_QUEUE])
        start_worker(stack, "otp-worker", concurrency, [OTP_QUEUE])
        wait_for_workers(stack, 2)


def _marketing_left(ledger: Engine, case: Case) -> int:
    """The marketing calls that wait. Raises StackError if there are none."""
    with reading(ledger) as connection:
        left = connection.scalar(select(func.count()).where(TO_BE_SENT, submissions.c.lane == "marketing")) or 0
    if not left:
        raise StackError(f"all the marketing went out before the last OTP; take more --recipients ({case})")
    return left


def _figures(
    sent: Mapping[str, tuple[float, float]], arrived: Mapping[str, float], calls_per_second: float, left: int
) -> Figures:
    latencies = {mobile: arrived[mobile] - at for mobile, (at, _) in sent.items()}
    ordered = sorted(latencies.values())
    return Figures(
        called_once=len(ordered),
        p50=median(ordered),
        p99=p99(ordered),
        max=ordered[-1],
        enqueue_max=max(seconds for _, seconds in sent.values()),
        calls_per_second=calls_per_second,
        marketing_left=left,
        latencies=[round(latency, 4) for latency in latencies.values()],
    )


@contextmanager
def _at_any_hour() -> Iterator[str]:
    """The path of a configuration that lets marketing go out at any hour."""
    with tempfile.NamedTemporaryFile("w", suffix=".toml") as file:
        file.write('[lanes.marketing]\nhours = "always"\n')
        file.flush()
        yield file.name


def _send(stack: Stack, count: int, pace: float, watch: Callable[[int], object]) -> dict[str, tuple[float, float]]:
    """Sends OTPs at that pace without waiting for their calls.

    Returns the time and the duration of each `send`, by mobile.
    """
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
    """The arrival time of each OTP's call. Raises StackError unless each has just one call."""
    deadline = time.monotonic() + STUCK_SECONDS
    arrivals: list[tuple[str, float]] = []
    while len(arrivals) < len(mobiles):
        stack.check()
        if time.monotonic() > deadline:
            raise StackError(f"of {len(mobiles)} OTPs {len(arrivals)} were called, and no more come")
        log = stack.calls(since)
        since += len(log)
        arrivals += [(call["mobiles"][0], call["arrived_at"]) for call in log if call["mobiles"][0] in mobiles]
    arrived = dict(arrivals)
    if len(arrived) < len(arrivals):
        raise StackError(f"{len(arrivals) - len(arrived)} OTPs were called twice")
    return arrived


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
            *(f"{1000 * seconds:.0f} ms" for seconds in (figures.p50, figures.p99, figures.max, figures.enqueue_max)),
        )
    Console().print(shown)

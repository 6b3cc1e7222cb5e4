"""`bench campaign`: a campaign to a million, from import to cancel, and its effect on other messages.

It uses the `sms` command. Times are by the clock of this machine, calls by the gateway's own log.
"""

import csv
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from zoneinfo import ZoneInfo

import psutil
from pydantic import SecretStr
from redis import Redis
from rich.console import Console

from bench.harness import Harness, calls_taken, open_harness, table, write
from bench.meter import p99
from worker.campaigns.start_due import start_due
from worker.client import SmsClient
from worker.config import Account, Settings
from worker.devstack.errors import StackError
from worker.devstack.stack import Stack
from worker.domain.campaigns.campaign import Window
from worker.domain.lane import LANES
from worker.domain.policy import AccountPolicy, Policy
from worker.domain.rate import Rate
from worker.ledger.engine import open_engine, reading
from worker.ledger.sending import accounts
from worker.maintenance import tick
from worker.runtime.process import utc_now

LOOK_SECONDS = 0.2
STILL_SECONDS = 5
"""How long the gateway's log is watched for calls after a pause or a cancel."""
STUCK_SECONDS = 60
TICKS = 20
OTP_PACE_SECONDS = 0.1
TEXT = "会员日全场八折，拒收请回复R"


@dataclass(frozen=True, slots=True)
class Options:
    recipients: int
    otps: int
    rate: float
    concurrency: int
    latency_ms: int


@dataclass(slots=True)
class Figures:
    """Seconds from the start of the command, unless the name says otherwise. Filled in as the run goes on."""

    import_seconds: float = 0
    rows_a_second: float = 0
    check_seconds: float = 0
    start_to_first_call: float = 0
    calls_a_second: float = 0
    pause_seconds: float = 0
    last_call_after_pause: float = 0
    """The time from the return of `sms campaign pause` to the last call; negative if the call came before."""
    resume_to_first_call: float = 0
    show_seconds: float = 0
    cancel_seconds: float = 0
    last_call_after_cancel: float = 0
    tick_ms_before: float = 0
    tick_ms_held: float = 0
    tick_ms_running: float = 0
    otp_p99_ms_before: float = 0
    otp_p99_ms_held: float = 0
    otp_p99_ms_running: float = 0
    peak_mb: dict[str, float] = field(default_factory=dict)


def bench_campaign(options: Options, results: Path) -> None:
    """Makes the run, writes the figures and prints the tables. Raises StackError if a mobile was called twice."""
    with open_harness() as harness:
        figures = _run(options, harness)
    write(results, options, [asdict(figures)])
    _show(figures, options)


def _run(options: Options, harness: Harness) -> Figures:
    figures = Figures()
    with (
        harness.bar("campaign", 10) as watch,
        harness.stack(
            concurrency=options.concurrency,
            latency_ms=options.latency_ms,
            settings={"SMS_RATE": str(options.rate)} if options.rate else None,
        ) as stack,
        _peaks(stack, figures.peak_mb),
    ):
        _import(stack, options, figures)
        watch(5)
        _start(stack, options, figures)
        watch(6)
        _pause(stack, options, figures)
        watch(7)
        _resume(stack, figures)
        watch(8)
        figures.cancel_seconds = _sms(stack, figures.peak_mb, "campaign", "cancel", "big")
        figures.last_call_after_cancel = _last_call(stack)
        if repeated := stack.ask_simulator("summary")["mobiles_repeated_total"]:
            raise StackError(f"{repeated} mobiles were called twice")
    return figures


def _import(stack: Stack, options: Options, figures: Figures) -> None:
    file = stack.directory / "people.csv"
    _write_file(file, options.recipients)
    figures.tick_ms_before, figures.otp_p99_ms_before = _tick_ms(stack), _otp_p99_ms(stack, options.otps)
    peaks = figures.peak_mb
    figures.import_seconds = _sms(stack, peaks, "audience", "import", "people", str(file))
    figures.rows_a_second = options.recipients / figures.import_seconds
    _sms(stack, peaks, "campaign", "create", "big", "--audience", "people", "--lane", "notice", "--text", TEXT)
    figures.check_seconds = _sms(stack, peaks, "campaign", "check", "big")


def _start(stack: Stack, options: Options, figures: Figures) -> None:
    before, started = calls_taken(stack), time.time()
    _sms(stack, figures.peak_mb, "campaign", "start", "big")
    figures.start_to_first_call = _wait_for_call(stack, before) - started
    before, begun = calls_taken(stack), time.monotonic()
    figures.tick_ms_running, figures.otp_p99_ms_running = _tick_ms(stack), _otp_p99_ms(stack, options.otps)
    figures.calls_a_second = (calls_taken(stack) - before) / (time.monotonic() - begun)


def _pause(stack: Stack, options: Options, figures: Figures) -> None:
    figures.pause_seconds = _sms(stack, figures.peak_mb, "campaign", "pause", "big")
    figures.last_call_after_pause = _last_call(stack)
    figures.tick_ms_held, figures.otp_p99_ms_held = _tick_ms(stack), _otp_p99_ms(stack, options.otps)


def _resume(stack: Stack, figures: Figures) -> None:
    before, resumed = calls_taken(stack), time.time()
    _sms(stack, figures.peak_mb, "campaign", "resume", "big")
    figures.resume_to_first_call = _wait_for_call(stack, before) - resumed
    time.sleep(STILL_SECONDS)
    figures.show_seconds = _sms(stack, figures.peak_mb, "campaign", "show", "big", "--json")


def _write_file(file: Path, count: int) -> None:
    with file.open("w", encoding="utf-8", newline="") as out:
        writer = csv.writer(out)
        writer.writerow(("mobile", "姓名", "amount", "due_date"))
        writer.writerows(
            (f"13{number:09}", f"客户{number}", f"{number % 1000}.50", "2026-12-16") for number in range(count)
        )


def _sms(stack: Stack, peaks: dict[str, float], *command: str) -> float:
    """Runs the command and notes its peak memory.

    Returns its seconds. Raises StackError with its output if it fails.
    """
    begun = time.monotonic()
    log = stack.log(f"sms-{command[1]}")
    with log.open("wb") as out:
        process = psutil.Popen(
            [sys.executable, "-m", "worker.cli", *command],
            env=stack.environment, cwd=stack.directory, stdin=subprocess.DEVNULL, stdout=out, stderr=out,
        )  # fmt: skip
        name = f"sms {command[0]} {command[1]}"
        while process.poll() is None:
            stack.check()
            peaks[name] = max(peaks.get(name, 0), _mb(process))
            time.sleep(0.01)
    if process.returncode:
        raise StackError(f"sms {' '.join(command)} failed: {log.read_text(errors='replace')[-2000:]}")
    return time.monotonic() - begun


def _mb(process: psutil.Process) -> float:
    try:
        return float(process.memory_info().rss / 2**20)
    except psutil.NoSuchProcess:
        return 0.0


@contextmanager
def _peaks(stack: Stack, peaks: dict[str, float]) -> Iterator[None]:
    """Notes the peak resident memory of each process during the block, in MB.

    PostgreSQL is left out, as it shares memory.
    """
    over = threading.Event()

    def look() -> None:
        while not over.wait(LOOK_SECONDS):
            for name, process in tuple(stack.processes.items()):
                try:
                    root = psutil.Process(process.pid)
                    family = (root, *root.children(recursive=True))
                except psutil.NoSuchProcess:
                    continue
                peaks[name] = max(peaks.get(name, 0), *map(_mb, family))

    watcher = threading.Thread(target=look)
    watcher.start()
    try:
        yield
    finally:
        over.set()
        watcher.join()


def _tick_ms(stack: Stack) -> float:
    """The median of some ticks, which run in this process."""
    engine = open_engine(stack.ledger_url)
    settings = Settings()
    settings.accounts["default"] = Account(epr_id=1, user_id="bench", password=SecretStr("unused"))
    with reading(engine) as connection:
        account_ids = accounts.ids(connection)
    always = {name: replace(lane, hours=None) for name, lane in LANES.items()}
    of_accounts = {name: AccountPolicy(account_ids[name], ZoneInfo("UTC"), Rate()) for name in account_ids}
    policy = Policy(always, of_accounts, max_mobiles=50)
    milliseconds = []
    with Redis.from_url(stack.redis_url) as redis:
        for _ in range(TICKS):
            begun = time.perf_counter()
            tick.tick(
                engine,
                redis,
                settings,
                policy,
                start_due=partial(start_due, window=lambda _, at: Window(at, None)),
                now=utc_now(),
            )
            milliseconds.append(1000 * (time.perf_counter() - begun))
    engine.dispose()
    return statistics.median(milliseconds)


def _otp_p99_ms(stack: Stack, count: int) -> float:
    """The p99 in ms from just before `send` to the gateway's log, of `count` OTPs."""
    client = SmsClient(stack.redis_url, caller="otp")
    since = calls_taken(stack)
    sent = {}
    first = round(time.time() * 10) % 10**7
    for number in range(count):
        mobile = f"19{first:07}{number:02}"
        sent[mobile] = time.time()
        client.send(mobile, f"您的验证码是{number:06}", lane="otp")
        time.sleep(OTP_PACE_SECONDS)
    arrived: dict[str, float] = {}

    def all_there() -> bool:
        nonlocal since
        log = stack.calls(since)
        since += len(log)
        arrived.update((call["mobiles"][0], call["arrived_at"]) for call in log if call["mobiles"][0] in sent)
        return len(arrived) == len(sent)

    stack.wait_for("the OTPs", all_there, seconds=STUCK_SECONDS)
    return p99(sorted(1000 * (arrived[mobile] - at) for mobile, at in sent.items()))


def _wait_for_call(stack: Stack, before: int) -> float:
    """The time of the first call after the first `before` ones, in Unix seconds."""
    stack.wait_for("a call", lambda: calls_taken(stack) > before, seconds=STUCK_SECONDS)
    return float(stack.calls(before)[0]["arrived_at"])


def _last_call(stack: Stack) -> float:
    """Seconds from now to the last call. Watches the log for STILL_SECONDS."""
    now = time.time()
    time.sleep(STILL_SECONDS)
    return float(stack.calls(calls_taken(stack) - 1)[-1]["arrived_at"]) - now


def _show(figures: Figures, options: Options) -> None:
    shown = table(f"A campaign to {options.recipients:,}, one text, PostgreSQL", "", "figure", "aim")
    for name, value, aim in (
        ("import: rows a second", f"{figures.rows_a_second:,.0f}", "50,000 or more"),
        ("check", f"{figures.check_seconds:.1f} s", ""),
        ("start to first call", f"{figures.start_to_first_call:.2f} s", "5 s or less"),
        ("calls a second, of 50", f"{figures.calls_a_second:,.0f}", ""),
        ("pause: the command", f"{figures.pause_seconds:.2f} s", ""),
        ("pause: the last call after it", f"{figures.last_call_after_pause:+.2f} s", "3 s or less"),
        ("resume to next call", f"{figures.resume_to_first_call:.2f} s", ""),
        ("show", f"{figures.show_seconds:.2f} s", ""),
        ("cancel: the command", f"{figures.cancel_seconds:.2f} s", ""),
        ("cancel: the last call after it", f"{figures.last_call_after_cancel:+.2f} s", ""),
    ):
        shown.add_row(name, value, aim)
    Console().print(shown)
    meanwhile = table("Others meanwhile", "", "before", "held", "running")
    for name, *milliseconds in (
        ("tick, median", figures.tick_ms_before, figures.tick_ms_held, figures.tick_ms_running),
        ("OTP from send to call, p99", figures.otp_p99_ms_before, figures.otp_p99_ms_held, figures.otp_p99_ms_running),
    ):
        meanwhile.add_row(name, *(f"{value:.1f} ms" for value in milliseconds))
    Console().print(meanwhile)
    memory = table("Most resident memory of each process", "process", "MB")
    for name, peak in sorted(figures.peak_mb.items()):
        memory.add_row(name, f"{peak:.0f}")
    Console().print(memory)

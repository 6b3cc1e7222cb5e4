"""`bench campaign`: a campaign to a million: import, first call, pause, resume and cancel, and what it does to others meanwhile.

By the `sms` command and the processes of the system; times are by the clock of this machine, calls by the gateway's own log.
"""

import csv
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import psutil
from pydantic import SecretStr
from redis import Redis
from rich.console import Console

from bench.harness import Frame, calls, frame, table, write
from worker.campaigns.start_due import start_due
from worker.client import SmsClient
from worker.config import Account, Settings
from worker.devstack.errors import StackError
from worker.devstack.stack import Stack
from worker.domain.campaigns.campaign import Window
from worker.ledger.engine import open_engine
from worker.maintenance import tick
from worker.runtime.process import utc_now

LOOK_SECONDS = 0.2
STILL_SECONDS = 5
"""So long after a pause or a cancel the gateway's log is watched for calls."""
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


@dataclass(frozen=True, slots=True)
class Figures:
    """Seconds from the moment that the command was started, unless they say otherwise."""

    import_seconds: float
    rows_a_second: float
    check_seconds: float
    start_to_first_call: float
    calls_a_second: float
    pause_seconds: float
    last_call_after_pause: float
    """From when `sms campaign pause` returned to the last call; below 0 where it came before."""
    resume_to_first_call: float
    show_seconds: float
    cancel_seconds: float
    last_call_after_cancel: float
    tick_ms_before: float
    tick_ms_held: float
    tick_ms_running: float
    otp_p99_ms_before: float
    otp_p99_ms_held: float
    otp_p99_ms_running: float
    peak_mb: dict[str, float]


def bench_campaign(options: Options, results: Path) -> None:
    """Makes the run, writes its figures and prints the table. StackError where a mobile was called twice."""
    with frame() as around:
        figures = _run(options, around)
    write(results, options, [asdict(figures)])
    _show(figures, options)


def _run(options: Options, around: Frame) -> Figures:
    with (
        around.bar("campaign", 10) as watch,
        around.stack(
            concurrency=options.concurrency,
            latency_ms=options.latency_ms,
            settings={"SMS_RATE": str(options.rate)} if options.rate else None,
        ) as stack,
        _peaks(stack) as peaks,
    ):
        file = stack.directory / "people.csv"
        _write_file(file, options.recipients)
        before = _tick_ms(stack), _otp_p99_ms(stack, options.otps)
        watch(1)
        import_seconds = _sms(stack, peaks, "audience", "import", "people", str(file))
        watch(3)
        _sms(stack, peaks, "campaign", "create", "big", "--audience", "people", "--lane", "notice", "--text", TEXT)
        check_seconds = _sms(stack, peaks, "campaign", "check", "big")
        watch(5)
        seen = _called(stack)
        started = time.time()
        _sms(stack, peaks, "campaign", "start", "big")
        first = _wait_for_call(stack, seen) - started
        begun, so_far = time.monotonic(), _called(stack)
        running = _tick_ms(stack), _otp_p99_ms(stack, options.otps)
        calls_a_second = (_called(stack) - so_far) / (time.monotonic() - begun)
        watch(6)
        pause_seconds = _sms(stack, peaks, "campaign", "pause", "big")
        after_pause = _last_call(stack)
        held = _tick_ms(stack), _otp_p99_ms(stack, options.otps)
        watch(7)
        seen = _called(stack)
        resumed = time.time()
        _sms(stack, peaks, "campaign", "resume", "big")
        resume = _wait_for_call(stack, seen) - resumed
        time.sleep(STILL_SECONDS)
        show_seconds = _sms(stack, peaks, "campaign", "show", "big", "--json")
        watch(8)
        cancel_seconds = _sms(stack, peaks, "campaign", "cancel", "big")
        after_cancel = _last_call(stack)
        if repeated := stack.ask_simulator("summary")["mobiles_repeated_total"]:
            raise StackError(f"{repeated} mobiles were called twice")
        return Figures(
            import_seconds=import_seconds,
            rows_a_second=options.recipients / import_seconds,
            check_seconds=check_seconds,
            start_to_first_call=first,
            calls_a_second=calls_a_second,
            pause_seconds=pause_seconds,
            last_call_after_pause=after_pause,
            resume_to_first_call=resume,
            show_seconds=show_seconds,
            cancel_seconds=cancel_seconds,
            last_call_after_cancel=after_cancel,
            tick_ms_before=before[0],
            tick_ms_held=held[0],
            tick_ms_running=running[0],
            otp_p99_ms_before=before[1],
            otp_p99_ms_held=held[1],
            otp_p99_ms_running=running[1],
            peak_mb=dict(peaks),
        )


def _write_file(file: Path, count: int) -> None:
    with file.open("w", encoding="utf-8", newline="") as out:
        writer = csv.writer(out)
        writer.writerow(("mobile", "姓名", "amount", "due_date"))
        writer.writerows(
            (f"13{number:09}", f"客户{number}", f"{number % 1000}.50", "2026-12-16") for number in range(count)
        )


def _sms(stack: Stack, peaks: dict[str, float], *command: str) -> float:
    """Runs the command; how many seconds it took, its memory among the peaks. StackError with its words where it fails."""
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
def _peaks(stack: Stack) -> Iterator[dict[str, float]]:
    """The most resident memory that each process has had in the block, in MB; of PostgreSQL not: what it shares is counted again."""
    peaks: dict[str, float] = {}
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
        yield peaks
    finally:
        over.set()
        watcher.join()


def _tick_ms(stack: Stack) -> float:
    """The median of some ticks, made here; what they ring for, those of beat do too."""
    engine = open_engine(stack.ledger_url)
    settings = Settings()
    settings.accounts["default"] = Account(epr_id=1, user_id="bench", password=SecretStr("unused"))
    took = []
    with Redis.from_url(stack.redis_url) as redis:
        for _ in range(TICKS):
            begun = time.perf_counter()
            tick.tick(
                engine,
                redis,
                settings,
                may_send=lambda *_: True,
                start_due=partial(start_due, window=lambda _, at: Window(at, None)),
                now=utc_now(),
            )
            took.append(1000 * (time.perf_counter() - begun))
    engine.dispose()
    return statistics.median(took)


def _otp_p99_ms(stack: Stack, count: int) -> float:
    """From just before `send` to the gateway's log, at p99 of so many OTPs."""
    client = SmsClient(stack.redis_url, caller="otp")
    since = _called(stack)
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
        log = calls(stack, since)
        since += len(log)
        arrived.update((call["mobiles"][0], call["arrived_at"]) for call in log if call["mobiles"][0] in sent)
        return len(arrived) == len(sent)

    stack.wait_for("the OTPs", all_there, seconds=STUCK_SECONDS)
    took = sorted(1000 * (arrived[mobile] - at) for mobile, at in sent.items())
    return took[-(-99 * len(took) // 100) - 1]


def _called(stack: Stack) -> int:
    return int(stack.ask_simulator("summary")["calls_taken"])


def _wait_for_call(stack: Stack, seen: int) -> float:
    """When the first call after those came."""
    stack.wait_for("a call", lambda: _called(stack) > seen, seconds=STUCK_SECONDS)
    return float(calls(stack, seen)[0]["arrived_at"])


def _last_call(stack: Stack) -> float:
    """How long after now the last call came, watched for some seconds."""
    now = time.time()
    time.sleep(STILL_SECONDS)
    return float(calls(stack, _called(stack) - 1)[-1]["arrived_at"]) - now


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
    for name, *each in (
        ("tick, median", figures.tick_ms_before, figures.tick_ms_held, figures.tick_ms_running),
        ("OTP from send to call, p99", figures.otp_p99_ms_before, figures.otp_p99_ms_held, figures.otp_p99_ms_running),
    ):
        meanwhile.add_row(name, *(f"{one:.1f} ms" for one in each))
    Console().print(meanwhile)
    memory = table("Most resident memory of each process", "process", "MB")
    for name, peak in sorted(figures.peak_mb.items()):
        memory.add_row(name, f"{peak:.0f}")
    Console().print(memory)

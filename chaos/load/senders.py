"""Who sends: a flood in a process of its own, so that it has no hand in our clocks; OTPs; and pushes of thousands of reports."""

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing import get_context
from multiprocessing.synchronize import Event
from pathlib import Path
from urllib.error import URLError
from urllib.request import ProxyHandler, Request, build_opener

from simulator.push_xml import Report, push_body
from worker.client import SmsClient
from worker.devstack.stack import ACCOUNT, Stack

FLOOD, OTP, FOREIGN = "130", "131", "139"
"""How the mobiles begin of whom each sends to. Every mobile is in one message alone, so a second call to it is one too many."""
FLOOD_THREADS = 4
REPORTS = 2000
"""Of one extra push. They are of another program's calls: their msgIds are below ours."""
PUSH_SECONDS = 30
"""How long an extra push is waited for, as the gateway does, before it comes again."""

_open = build_opener(ProxyHandler({})).open


@dataclass(frozen=True)
class Flood:
    """Single sends at a pace, from another process; it pauses while `hold` is set."""

    hold: Event
    _kept_in: Path

    def accepted(self) -> dict[str, str]:
        """The mobile of each message that `send` has returned, under its id."""
        return dict(line.split() for line in self._lines() if not line.startswith("!"))

    def faults(self) -> list[str]:
        """What `send` raised."""
        return [line[1:].strip() for line in self._lines() if line.startswith("!")]

    def _lines(self) -> list[str]:
        return self._kept_in.read_text().splitlines() if self._kept_in.exists() else []


@contextmanager
def flooding(stack: Stack, rate: float, seconds: float) -> Iterator[Flood]:
    """Sends so many messages a second, for so many seconds at most; ends with the block."""
    spawn = get_context("spawn")
    flood = Flood(spawn.Event(), stack.directory / "flood.sent")
    stop = spawn.Event()
    arguments = (stack.redis_url, rate, seconds, flood.hold, stop, flood._kept_in, os.getpid())
    process = spawn.Process(target=_flood, args=arguments, name="flood", daemon=True)
    process.start()
    try:
        yield flood
    finally:
        stop.set()
        process.join(10)
        process.kill()


def _flood(redis_url: str, rate: float, seconds: float, hold: Event, stop: Event, kept_in: Path, parent: int) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a Ctrl-C is our parent's, who ends us
    client = SmsClient(redis_url, caller="flood")
    until = time.monotonic() + seconds
    with kept_in.open("w", buffering=1) as kept:

        def run(thread: int) -> None:
            number = thread
            while time.monotonic() < until and not stop.is_set() and os.getppid() == parent:
                due = time.monotonic() + FLOOD_THREADS / rate
                if not hold.is_set():
                    kept.write(_send(client, f"{FLOOD}{number:08}", f"您的包裹 {number:07} 已到"))
                    number += FLOOD_THREADS
                stop.wait(max(0.0, due - time.monotonic()))

        threads = [threading.Thread(target=run, args=(thread,)) for thread in range(FLOOD_THREADS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()


def _send(client: SmsClient, mobile: str, content: str, lane: str = "notice") -> str:
    """A line for the file: the id and the mobile, or what was raised. Redis is there all the time, and has room."""
    try:
        return f"{client.send(mobile, content, lane=lane)} {mobile}\n"
    except Exception as why:  # noqa: BLE001 - whatever it raises is a fault, and told at the end
        return f"! {why!r}\n"


@dataclass
class Otps:
    """A thread that sends OTPs at a pace, each to a mobile of its own."""

    redis_url: str
    pace: float
    sent: dict[str, float] = field(default_factory=dict)
    """Just before the call of `send`, in Unix seconds, under the mobile."""
    accepted: dict[str, str] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)

    def run(self, stop: threading.Event) -> None:
        client = SmsClient(self.redis_url, caller="otp")
        began, number = time.monotonic(), 0
        while not stop.wait(max(0.0, began + number / self.pace - time.monotonic())):
            mobile, at = f"{OTP}{number:08}", time.time()
            number += 1
            line = _send(client, mobile, f"您的验证码是 {number:06}", "otp")
            if line.startswith("!"):
                self.faults.append(line[1:].strip())
            else:
                self.sent[mobile] = at
                self.accepted[line.split()[0]] = mobile


@dataclass
class Pushes:
    """A thread that pushes thousands of reports at a time to the callback app, each until it reads SUCCESS."""

    stack: Stack
    every: float
    """Seconds."""
    reports: int = 0
    """Acknowledged so far."""
    slowest: float = 0
    """Seconds that one took to be acknowledged, its repeats included."""

    def run(self, stop: threading.Event) -> None:
        while not stop.wait(self.every):
            body, began = self._body(), time.monotonic()
            while not self._is_acknowledged(body):
                if stop.wait(0.5):
                    return
            self.reports += REPORTS
            self.slowest = max(self.slowest, time.monotonic() - began)

    def _body(self) -> bytes:
        account = ACCOUNT["SMS_EPR_ID"], ACCOUNT["SMS_USER_ID"]
        first = self.reports + 1
        return push_body(
            tuple(
                Report(*account, f"{FOREIGN}{number:08}", str(number), "1") for number in range(first, first + REPORTS)
            )
        )

    def _is_acknowledged(self, body: bytes) -> bool:
        url = f"{self.stack.callback_url}/push/{self.stack.environment['SMS_PUSH_TOKEN']}"
        try:
            with _open(Request(url, body, {"Content-Type": "text/xml"}), timeout=PUSH_SECONDS) as response:
                return bool(response.read() == b"SUCCESS")
        except (URLError, OSError):
            return False


@contextmanager
def at_work(*senders: Otps | Pushes) -> Iterator[None]:
    """Each of them in a thread, until the block ends."""
    stop = threading.Event()
    threads = [threading.Thread(target=one.run, args=(stop,), daemon=True) for one in senders]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        stop.set()
        for thread in threads:
            thread.join(PUSH_SECONDS)

"""The senders: a flood in another process, so that it does not slow our clocks; OTPs; and pushes of many reports."""

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
from typing import TextIO
from urllib.error import URLError
from urllib.request import Request

from simulator.push_xml import Report, push_body
from worker.client import SmsClient
from worker.devstack.loopback import open_url
from worker.devstack.stack import ACCOUNT, Stack

FLOOD, OTP, FOREIGN = "130", "131", "139"
"""The first digits of the mobiles of each sender.

Every mobile is in only one message, so a second call to it is a double.
"""
FLOOD_THREADS = 4
REPORTS = 2000
"""Reports of one extra push. They are for another program's calls: their msgIds are below ours."""
PUSH_SECONDS = 30
"""How long the answer to an extra push is waited for, as the gateway does, before it comes again."""


@dataclass(frozen=True)
class Flood:
    """Single sends at a pace, from another process. It pauses while `hold` is set."""

    redis_url: str
    rate: float
    """Messages a second."""
    seconds: float
    """How long it lasts at most."""
    hold: Event
    _stop: Event
    _sent: Path
    _parent: int = field(default_factory=os.getpid)

    def accepted(self) -> dict[str, str]:
        """The mobile of each message that `send` has returned, by its id."""
        return dict(line.split() for line in self._lines() if not line.startswith("!"))

    def faults(self) -> list[str]:
        """What `send` raised."""
        return [line[1:].strip() for line in self._lines() if line.startswith("!")]

    def run(self) -> None:
        """Sends, in the process of its own."""
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # our parent handles a Ctrl-C and ends us
        client = SmsClient(self.redis_url, caller="flood")
        until = time.monotonic() + self.seconds
        with self._sent.open("w", buffering=1) as sent:
            threads = [
                threading.Thread(target=self._run_thread, args=(client, sent, number, until))
                for number in range(FLOOD_THREADS)
            ]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()

    @contextmanager
    def running(self) -> Iterator[None]:
        """Sends from another process, until the block ends."""
        process = get_context("spawn").Process(target=self.run, name="flood", daemon=True)
        process.start()
        try:
            yield
        finally:
            self._stop.set()
            process.join(10)
            process.kill()

    def _run_thread(self, client: SmsClient, sent: TextIO, number: int, until: float) -> None:
        while time.monotonic() < until and not self._stop.is_set() and os.getppid() == self._parent:
            due = time.monotonic() + FLOOD_THREADS / self.rate
            if not self.hold.is_set():
                sent.write(_send(client, f"{FLOOD}{number:08}", f"您的包裹 {number:07} 已到"))
                number += FLOOD_THREADS
            self._stop.wait(max(0.0, due - time.monotonic()))

    def _lines(self) -> list[str]:
        return self._sent.read_text().splitlines() if self._sent.exists() else []


@contextmanager
def flooding(stack: Stack, rate: float, seconds: float) -> Iterator[Flood]:
    """A flood of `rate` messages a second, for at most `seconds`. Ends with the block."""
    spawn = get_context("spawn")
    flood = Flood(stack.redis_url, rate, seconds, spawn.Event(), spawn.Event(), stack.directory / "flood.sent")
    with flood.running():
        yield flood


def _send(client: SmsClient, mobile: str, content: str, lane: str = "notice") -> str:
    """A line for the file: the id and the mobile, or what was raised. Redis is up and has room all the time."""
    try:
        return f"{client.send(mobile, content, lane=lane)} {mobile}\n"
    except Exception as error:  # noqa: BLE001 - whatever it raises is a fault, and shown at the end
        return f"! {error!r}\n"


@dataclass
class Otps:
    """Sends OTPs at a pace, each to a mobile of its own."""

    redis_url: str
    pace: float
    sent: dict[str, float] = field(default_factory=dict)
    """The time just before the call of `send`, in Unix seconds, by mobile."""
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
    """Pushes thousands of reports at a time to the callback app, each push until it reads SUCCESS."""

    stack: Stack
    every: float
    """The seconds between two pushes."""
    reports: int = 0
    """The reports acknowledged so far."""
    slowest: float = 0
    """The longest time until a push was acknowledged in seconds, repeats included."""

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
                Report(*account, f"{FOREIGN}{msg_id:08}", str(msg_id), "1") for msg_id in range(first, first + REPORTS)
            )
        )

    def _is_acknowledged(self, body: bytes) -> bool:
        url = f"{self.stack.callback_url}/push/{self.stack.environment['SMS_PUSH_TOKEN']}"
        try:
            with open_url(Request(url, body, {"Content-Type": "text/xml"}), timeout=PUSH_SECONDS) as response:
                return bool(response.read() == b"SUCCESS")
        except (URLError, OSError):
            return False


@contextmanager
def at_work(*senders: Otps | Pushes) -> Iterator[None]:
    """Runs each sender in a thread until the block ends."""
    stop = threading.Event()
    threads = [threading.Thread(target=sender.run, args=(stop,), daemon=True) for sender in senders]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        stop.set()
        for thread in threads:
            thread.join(PUSH_SECONDS)

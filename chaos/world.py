"""The system under test: its processes, their supervisor, and the faults that are still to be undone."""

import heapq
import itertools
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

from chaos.postgres import Postgres, postgres_for
from chaos.proxy import Proxy, running_proxy
from worker.devstack.directory import kept_directory
from worker.devstack.signals import deferred_signals
from worker.devstack.stack import Stack, running_stack, start_worker

WORKERS = ("worker", "worker2")
RESTART_SECONDS = 1.0
"""The time from the end of a process until its supervisor starts it again (systemd's RestartSec)."""


@dataclass(frozen=True, slots=True)
class Flush:
    """What only the intake held when Valkey was emptied; `at` is in Unix seconds."""

    at: float
    messages: set[str]
    """Message ids. A message that a worker had in hand may be in the ledger all the same."""
    reports: frozenset[tuple[int, str]]
    """The msgId and the mobile of each."""
    replies: Counter[str]
    """By content."""


@dataclass
class World:
    """The system under test. Only the main thread changes it: the processes end with the thread that started them."""

    stack: Stack
    proxy: Proxy
    postgres: Postgres | None
    random: Random
    freeze_seconds: float
    keep: Callable[[], None]
    """Keeps the directory of the stack after the run."""
    flushes: list[Flush] = field(default_factory=list)
    ended: list[str] = field(default_factory=list)
    """The processes that ended by themselves: name, exit code, and the last line of the log."""
    faults: Counter[str] = field(default_factory=Counter)
    replies: list[str] = field(default_factory=list)
    """The contents of the replies that the gateway was asked to push; all different."""
    _broken: set[str] = field(default_factory=set)
    _due: list[tuple[float, int, str, Callable[[], object]]] = field(default_factory=list)
    _order: Iterator[int] = field(default_factory=itertools.count)
    _began: float = field(default_factory=time.monotonic)

    def log(self, line: str) -> None:
        print(f"[{time.monotonic() - self._began:6.1f} s] {line}", flush=True)

    def is_whole(self, part: str) -> bool:
        """Whether no fault of ours is on that part."""
        return part not in self._broken

    def undo_later(self, seconds: float, part: str, undo: Callable[[], object]) -> None:
        """Counts the part as broken until `undo` is called, after that many seconds."""
        self._broken.add(part)
        heapq.heappush(self._due, (time.monotonic() + seconds, next(self._order), part, undo))

    def supervise(self) -> None:
        """Undoes the faults that are due, and restarts the processes that ended by themselves."""
        self.stack.raise_if_interrupted()
        while self._due and self._due[0][0] <= time.monotonic():
            self._undo_next()
        for name, process in tuple(self.stack.processes.items()):
            if process.poll() is not None:
                self.log(f"{name} ended by itself with {process.returncode}: to be restarted")
                self.ended.append(f"{name}: exit {process.returncode}; {_last_line(self.stack, name)}")
                self.stack.stop(name)
                self.restart_later(name)

    def restart_later(self, name: str, seconds: float = RESTART_SECONDS) -> None:
        self.undo_later(seconds, name, lambda: self.stack.start(name))

    def undo_all(self) -> None:
        """Undoes all faults at once."""
        while self._due:
            self._undo_next()

    def wait(self, seconds: float) -> None:
        """Lets time pass without supervision. A Ctrl-C still counts."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            self.stack.raise_if_interrupted()
            time.sleep(0.05)

    def behave(self, **behaviour: Any) -> None:
        """Changes the behaviour of the simulated gateway (simulator/behaviour.py)."""
        self.stack.ask_simulator("behave", behaviour)

    def _undo_next(self) -> None:
        _, _, part, undo = heapq.heappop(self._due)
        undo()
        self._broken.discard(part)
        self.log(f"    {part} is as it was")


@dataclass(frozen=True, slots=True)
class Setup:
    """The system that a run needs."""

    concurrency: int
    """Threads of each worker."""
    gateway: Sequence[str]
    """Options of the simulator."""
    settings: Mapping[str, str]
    through_proxy: bool
    """Whether the workers reach the gateway by the proxy."""


@contextmanager
def running_world(
    setup: Setup, *, seed: int, ledger: str, directory: Path | None, freeze_seconds: float = 0
) -> Iterator[World]:
    """A system with two workers. Raises Signalled and StackError; nothing is left frozen, however the block ends."""
    with (
        deferred_signals() as raise_if_interrupted,
        kept_directory(directory, prefix="sms-chaos-", kept=_print_place) as (path, keep),
        postgres_for(ledger) as postgres,
        running_proxy() as proxy,
        running_stack(
            path,
            ledger_url=postgres.url if postgres is not None else None,
            concurrency=setup.concurrency,
            simulator_options=setup.gateway,
            settings={**setup.settings, **({"SMS_GATEWAY_URL": proxy.gateway_url} if setup.through_proxy else {})},
            raise_if_interrupted=raise_if_interrupted,
        ) as stack,
    ):
        proxy.to_port = int(stack.simulator_url.rpartition(":")[2])
        start_worker(stack, WORKERS[1], setup.concurrency)
        try:
            yield World(stack, proxy, postgres, Random(seed), freeze_seconds, keep)
        finally:
            if postgres is not None:
                postgres.thaw()


def _print_place(path: Path) -> None:
    print(f"the logs are in {path}")


def _last_line(stack: Stack, name: str) -> str:
    lines = stack.log(name).read_text(errors="replace").strip().splitlines()
    return lines[-1][:200] if lines else "nothing in its log"

"""What is broken, and what puts it right again: the processes, their supervisor, and what is yet to be undone."""

import heapq
import itertools
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from random import Random
from typing import Any

from chaos.postgres import Postgres
from chaos.proxy import Door
from worker.devstack.stack import Stack

WORKERS = ("worker", "worker2")
RESTART_SECONDS = 1.0
"""How long a supervisor lets pass before it starts anew what has ended (systemd's RestartSec)."""


@dataclass(frozen=True, slots=True)
class Flush:
    """What was in the intake alone when Valkey was emptied; `at` is in Unix seconds."""

    at: float
    messages: set[str]
    """Their ids. What a worker had just in hand may be in the ledger all the same."""
    reports: frozenset[tuple[int, str]]
    replies: Counter[str]


@dataclass
class World:
    """The system under fire. Only the main thread changes it: the processes end with the thread that started them."""

    stack: Stack
    door: Door
    postgres: Postgres | None
    random: Random
    freeze_seconds: float
    flushes: list[Flush] = field(default_factory=list)
    ended: list[str] = field(default_factory=list)
    """Processes that ended by themselves: name, exit code, and how the log ends."""
    faults: Counter[str] = field(default_factory=Counter)
    replies: list[str] = field(default_factory=list)
    """The texts of the replies that the gateway was asked to make, each another."""
    _busy: set[str] = field(default_factory=set)
    _due: list[tuple[float, int, str, Callable[[], object]]] = field(default_factory=list)
    _order: Iterator[int] = field(default_factory=itertools.count)
    _began: float = field(default_factory=time.monotonic)

    def say(self, what: str) -> None:
        print(f"[{time.monotonic() - self._began:6.1f} s] {what}", flush=True)

    def free(self, part: str) -> bool:
        """Whether nothing is wrong with that part, as far as we had a hand in it."""
        return part not in self._busy

    def later(self, seconds: float, part: str, undo: Callable[[], object]) -> None:
        """That part is broken until `undo` is called, in so many seconds."""
        self._busy.add(part)
        heapq.heappush(self._due, (time.monotonic() + seconds, next(self._order), part, undo))

    def turn(self) -> None:
        """Undoes what is due, and starts anew what has ended by itself."""
        self.stack.interrupted()
        while self._due and self._due[0][0] <= time.monotonic():
            self._undo_next()
        for name, process in tuple(self.stack.processes.items()):
            if process.poll() is not None:
                self.say(f"{name} ended by itself with {process.returncode}: to be restarted")
                self.ended.append(f"{name}: exit {process.returncode}; {_last_line(self.stack, name)}")
                self.stack.stop(name)
                self.restart_later(name)

    def restart_later(self, name: str, seconds: float = RESTART_SECONDS) -> None:
        self.later(seconds, name, lambda: self.stack.start(name))

    def undo_all(self) -> None:
        """Puts everything right at once."""
        while self._due:
            self._undo_next()

    def wait(self, seconds: float) -> None:
        """Lets the time pass with nobody looking after anything; Ctrl-C still counts."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            self.stack.interrupted()
            time.sleep(0.05)

    def behave(self, **how: Any) -> None:
        self.stack.ask_simulator("behave", how)

    def _undo_next(self) -> None:
        _, _, part, undo = heapq.heappop(self._due)
        undo()
        self._busy.discard(part)
        self.say(f"    {part} is as it was")


@contextmanager
def put_right(world: World) -> Iterator[World]:
    """However the block ends, nothing is left frozen: what is stopped could not be ended."""
    try:
        yield world
    finally:
        if world.postgres is not None:
            world.postgres.thaw()


def _last_line(stack: Stack, name: str) -> str:
    lines = stack.log(name).read_text(errors="replace").strip().splitlines()
    return lines[-1][:200] if lines else "nothing in its log"

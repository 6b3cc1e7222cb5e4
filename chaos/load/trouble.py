"""The trouble and its times: spells of a bad gateway, one sick worker, poison. The seed decides the order."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from random import Random
from typing import Any

from chaos.load.poison import Poison
from chaos.world import World
from worker.devstack.stack import Stack, start_worker

SHORT_SECONDS = 120
"""A shorter run has one spell of a bad gateway, a longer one has three."""
SICK = "sick worker"
SICK_RESTART_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Spell:
    """A time when the gateway was bad, in Unix seconds. `statuses` are its answers, one after the other."""

    began: float
    ended: float
    statuses: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Trouble:
    """Something that happens `at` seconds after the start."""

    at: float
    name: str
    do: Callable[[], object]


@dataclass
class Gateway:
    """A gateway that answers every call with a status while it is bad. It takes none of these calls."""

    world: World
    spells: list[Spell] = field(default_factory=list)
    _began: float = 0
    _statuses: tuple[int, ...] = ()

    def fail_with(self, status: int, **more: Any) -> None:
        if not self._statuses:
            self._began = time.time()
        self._statuses += (status,)
        self.world.behave(script=[{"do": "http", "status": status, "times": 0, **more}])

    def recover(self) -> None:
        self.world.behave(script=[])
        if self._statuses:
            self.spells.append(Spell(self._began, time.time(), self._statuses))
            self._statuses = ()


def timetable(
    gateway: Gateway, poison: Poison, sick: "SickWorker", campaign: Callable[[], object], seconds: float
) -> list[Trouble]:
    """All the trouble of a run, in order."""
    world = gateway.world
    dice = world.random
    troubles = [
        Trouble(0.02 * seconds, f"a {SICK} starts: it cannot reach the gateway", sick.start),
        Trouble(0.05 * seconds, "the campaign starts", campaign),
        *_spells(gateway, dice, seconds),
        Trouble(0.8 * seconds, f"the {SICK} can reach the gateway again", world.proxy.open),
        *_doses(poison, dice, seconds),
    ]
    return sorted(troubles, key=lambda trouble: trouble.at)


def _spells(gateway: Gateway, dice: Random, seconds: float) -> Iterator[Trouble]:
    count = 1 if seconds < SHORT_SECONDS else 3
    length = min(12.0, seconds / 15)
    for number in range(count):
        at = seconds * (0.3 if count == 1 else (0.2, 0.45, 0.7)[number])
        # Both, in a short run and first in a long one. After that the dice decide.
        statuses = [502, 429] if number == 0 else dice.choice(([502], [429, 502], [429]))
        for status in statuses:
            more = {"retry_after": dice.choice((None, 1, 3))} if status == 429 else {}
            yield Trouble(at, f"gateway: {status} to every call", partial(gateway.fail_with, status, **more))
            at += length / len(statuses)
        yield Trouble(at, "gateway: well again", gateway.recover)


def _doses(poison: Poison, dice: Random, seconds: float) -> Iterator[Trouble]:
    """The doses in random order, spread over the run. In a long run each is given twice."""
    doses = poison.doses() * (1 if seconds < SHORT_SECONDS else 2)
    for number, (name, give) in enumerate(dice.sample(doses, len(doses))):
        yield Trouble(seconds * (0.1 + 0.8 * number / len(doses)), name, give)


@dataclass
class SickWorker:
    """A worker that cannot reach the gateway, because its proxy is closed. Its supervisor restarts it."""

    world: World
    stack: Stack
    concurrency: int
    ends: int = 0
    """How often it ended by itself. It may."""
    _again_at: float | None = None

    def start(self) -> None:
        start_worker(self.stack, SICK, self.concurrency)

    def supervise(self) -> None:
        """Restarts the worker a while after it has ended by itself."""
        process = self.stack.processes.get(SICK)
        if process is None or process.poll() is None:
            return
        if self._again_at is None:
            self.ends += 1
            self.world.log(f"the {SICK} ended by itself with {process.returncode}")
            self._again_at = time.monotonic() + SICK_RESTART_SECONDS
        elif time.monotonic() >= self._again_at:
            self._again_at = None
            self.stack.start(SICK)


@contextmanager
def sick_worker(world: World, concurrency: int) -> Iterator[SickWorker]:
    """A sick worker that is ready to be started. It ends with the block."""
    # A stack of its own, so that the world does not restart the worker with the gateway of the others.
    stack = world.stack.apart(SMS_GATEWAY_URL=world.proxy.gateway_url)
    world.proxy.close()
    try:
        yield SickWorker(world, stack, concurrency)
    finally:
        stack.stop()

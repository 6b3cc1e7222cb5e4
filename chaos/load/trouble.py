"""The bad company, and when it comes: spells of a bad gateway, one sick worker, poison. The seed decides what comes when."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from random import Random
from typing import Any

from chaos.load.poison import Poison
from chaos.world import World
from worker.devstack.stack import Stack, start_worker

SHORT_SECONDS = 120
"""A run of less has one spell of a bad gateway, any other has three."""
SICK = "sick worker"
SICK_RESTART_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Spell:
    """The gateway was bad from then until then, in Unix seconds; `statuses` are those that it answered with, one after the other."""

    began: float
    ended: float
    statuses: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Trouble:
    """Something that happens so many seconds after the start."""

    at: float
    name: str
    do: Callable[[], object]


@dataclass
class Gateway:
    """It answers every call with a status, for as long as it is bad; none of these calls is taken."""

    world: World
    spells: list[Spell] = field(default_factory=list)
    _began: float = 0
    _statuses: tuple[int, ...] = ()

    def turns_to(self, status: int, **more: Any) -> None:
        if not self._statuses:
            self._began = time.time()
        self._statuses += (status,)
        self.world.behave(script=[{"do": "http", "status": status, "times": 0, **more}])

    def is_well(self) -> None:
        self.world.behave(script=[])
        if self._statuses:
            self.spells.append(Spell(self._began, time.time(), self._statuses))
            self._statuses = ()


def timetable(
    gateway: Gateway, poison: Poison, sick: "Sick", campaign: Callable[[], object], seconds: float
) -> list[Trouble]:
    """All that comes, in order."""
    world = gateway.world
    dice = world.random
    came = [
        Trouble(0.02 * seconds, f"a {SICK} starts: it alone has no way out", sick.start),
        Trouble(0.05 * seconds, "the campaign starts", campaign),
        *_spells(gateway, dice, seconds),
        Trouble(0.8 * seconds, f"the {SICK} has its way out again", world.door.open),
        *_doses(poison, dice, seconds),
    ]
    return sorted(came, key=lambda one: one.at)


def _spells(gateway: Gateway, dice: Random, seconds: float) -> Iterator[Trouble]:
    count = 1 if seconds < SHORT_SECONDS else 3
    length = min(12.0, seconds / 15)
    for number in range(count):
        at = seconds * (0.3 if count == 1 else (0.2, 0.45, 0.7)[number])
        # Both, in a short run and first in a long one; then the dice say.
        statuses = [502, 429] if number == 0 else dice.choice(([502], [429, 502], [429]))
        for status in statuses:
            more = {"retry_after": dice.choice((None, 1, 3))} if status == 429 else {}
            yield Trouble(at, f"gateway: {status} to every call", partial(gateway.turns_to, status, **more))
            at += length / len(statuses)
        yield Trouble(at, "gateway: well again", gateway.is_well)


def _doses(poison: Poison, dice: Random, seconds: float) -> Iterator[Trouble]:
    """One after the other, spread over the run: of a kind each, twice where there is the time."""
    doses = poison.doses() * (1 if seconds < SHORT_SECONDS else 2)
    for number, (name, give) in enumerate(dice.sample(doses, len(doses))):
        yield Trouble(seconds * (0.1 + 0.8 * number / len(doses)), name, give)


@dataclass
class Sick:
    """A worker that alone cannot reach the gateway: its way there is a door that is shut. Its supervisor starts it anew."""

    world: World
    stack: Stack
    concurrency: int
    ends: int = 0
    """How often it ended by itself, which is its right."""
    _again_at: float | None = None

    def start(self) -> None:
        start_worker(self.stack, SICK, self.concurrency)

    def turn(self) -> None:
        """Starts it anew a while after it has ended by itself."""
        process = self.stack.processes.get(SICK)
        if process is None or process.poll() is None:
            return
        if self._again_at is None:
            self.ends += 1
            self.world.say(f"the {SICK} ended by itself with {process.returncode}")
            self._again_at = time.monotonic() + SICK_RESTART_SECONDS
        elif time.monotonic() >= self._again_at:
            self._again_at = None
            self.stack.start(SICK)


@contextmanager
def sick_worker(world: World, concurrency: int) -> Iterator[Sick]:
    """Ready to be started; it ends with the block."""
    url = f"http://127.0.0.1:{world.door.port}/api/webservice"
    environment = {**world.stack.environment, "SMS_GATEWAY_URL": url}
    # Processes of its own, so that the world does not start it anew with the way of the others.
    stack = replace(world.stack, environment=environment, processes={}, _commands={})
    world.door.to_port = int(world.stack.simulator_url.rpartition(":")[2])
    world.door.shut()
    try:
        yield Sick(world, stack, concurrency)
    finally:
        stack.stop()

"""Draws the faults in random order and injects them."""

from chaos.faults import Fault, table
from chaos.world import World


class Nemesis:
    """Draws all the faults in random order, each as often as its weight, before it draws any again."""

    def __init__(self, world: World, only: str | None = None) -> None:
        faults = table(has_postgres=world.postgres is not None)
        self._all = [fault for fault in faults for _ in range(fault.weight) if only is None or only in fault.name]
        self._world = world
        self._left: list[Fault] = []

    def strike(self) -> None:
        """Injects the next fault whose part is whole, if there is one."""
        if not self._left:
            self._left = self._world.random.sample(self._all, len(self._all))
        fault = next((fault for fault in self._left if self._world.is_whole(fault.part)), None)
        if fault is not None:
            self._left.remove(fault)
            self._world.faults[fault.name] += 1
            self._world.log(fault.name)
            fault.inject(self._world)

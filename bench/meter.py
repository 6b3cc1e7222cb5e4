"""What processes use, from now on: CPU time, and memory at its peak. A process counts with all that it has started."""

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import TypeVar

import psutil

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Use:
    """Of one process and those below it."""

    cpu_seconds: float
    peak_mb: float


class Meter:
    """Measures the processes of these ids, under their names, from the moment it is made."""

    def __init__(self, pids: Mapping[str, int]) -> None:
        self._roots = {name: psutil.Process(pid) for name, pid in pids.items()}
        self._before = {name: _cpu_seconds(root) for name, root in self._roots.items()}
        self._peaks = dict.fromkeys(pids, 0.0)

    def sample(self) -> None:
        """Looks at the memory; its peak is the highest that was seen."""
        for name, root in self._roots.items():
            self._peaks[name] = max(self._peaks[name], _resident_mb(root))

    def used(self) -> dict[str, Use]:
        self.sample()
        return {
            name: Use(_cpu_seconds(root) - self._before[name], self._peaks[name]) for name, root in self._roots.items()
        }


class Machine:
    """How busy all of the machine is, whoever it is that keeps it busy; from the first sample to the last."""

    def __init__(self) -> None:
        self._first: tuple[float, float] | None = None
        self._last = (0.0, 0.0)

    def sample(self) -> None:
        times = psutil.cpu_times()
        # What a guest uses, the ninth and tenth of Linux, is in the user's time already.
        total = sum(times[:8])
        self._last = total - times.idle - getattr(times, "iowait", 0), total
        self._first = self._first or self._last

    def cores_busy(self) -> float:
        busy, total = (last - first for last, first in zip(self._last, self._first or self._last, strict=True))
        return busy / total * (psutil.cpu_count() or 1) if total else 0


def _each(root: psutil.Process, read: Callable[[psutil.Process], T]) -> list[T]:
    found = []
    for process in (root, *root.children(recursive=True)):
        with suppress(psutil.NoSuchProcess):
            found.append(read(process))
    return found


def _cpu_seconds(root: psutil.Process) -> float:
    # The last two of the four are of children that have ended by now.
    return sum(sum(times[:4]) for times in _each(root, lambda process: process.cpu_times()))


def _resident_mb(root: psutil.Process) -> float:
    # What PostgreSQL's processes share is there once, and would be counted for each of them.
    memory = _each(root, lambda process: process.memory_info())
    shared = [getattr(one, "shared", 0) for one in memory]
    return (sum(one.rss for one in memory) - sum(shared) + max(shared)) / 2**20

"""The CPU time and the peak memory of processes from now on. A process counts with all its children."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TypeVar

import psutil

from worker.devstack.stack import Stack

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Use:
    """What a process and its children used."""

    cpu_seconds: float
    peak_mb: float


class Meter:
    """Measures the processes with these ids by name, from its creation on."""

    def __init__(self, pids: Mapping[str, int]) -> None:
        self._roots = {name: psutil.Process(pid) for name, pid in pids.items()}
        self._before = {name: _cpu_seconds(root) for name, root in self._roots.items()}
        self._peaks = dict.fromkeys(pids, 0.0)

    def sample(self) -> None:
        """Reads the memory. The peak is the highest value that was read."""
        for name, root in self._roots.items():
            self._peaks[name] = max(self._peaks[name], _resident_mb(root))

    def used(self) -> dict[str, Use]:
        self.sample()
        return {
            name: Use(_cpu_seconds(root) - self._before[name], self._peaks[name]) for name, root in self._roots.items()
        }


def meter_of(stack: Stack, *, postgres: int | None) -> Meter:
    """A meter of the stack's processes, and of the PostgreSQL with that process id."""
    pids = {name: process.pid for name, process in stack.processes.items()}
    return Meter(pids if postgres is None else {**pids, "postgres": postgres})


def p99(ordered: Sequence[float]) -> float:
    """The 99th percentile of values in ascending order, by nearest rank."""
    return ordered[-(-99 * len(ordered) // 100) - 1]


class Machine:
    """How busy the whole machine is, from the first sample to the last."""

    def __init__(self) -> None:
        self._first: tuple[float, float] | None = None
        self._last = (0.0, 0.0)

    def sample(self) -> None:
        times = psutil.cpu_times()
        # The ninth and tenth times of Linux are a guest's. They are in the user's time already.
        total = sum(times[:8])
        self._last = total - times.idle - getattr(times, "iowait", 0), total
        self._first = self._first or self._last

    def cores_busy(self) -> float:
        busy, total = (last - first for last, first in zip(self._last, self._first or self._last, strict=True))
        return busy / total * (psutil.cpu_count() or 1) if total else 0


def _each(root: psutil.Process, read: Callable[[psutil.Process], T]) -> list[T]:
    values = []
    for process in (root, *root.children(recursive=True)):
        with suppress(psutil.NoSuchProcess):
            values.append(read(process))
    return values


def _cpu_seconds(root: psutil.Process) -> float:
    # The last two of the four times are of children that have ended.
    return sum(sum(times[:4]) for times in _each(root, lambda process: process.cpu_times()))


def _resident_mb(root: psutil.Process) -> float:
    # The processes of PostgreSQL share memory, which would be counted for each of them.
    memory = _each(root, lambda process: process.memory_info())
    shared = [getattr(info, "shared", 0) for info in memory]
    return (sum(info.rss for info in memory) - sum(shared) + max(shared)) / 2**20

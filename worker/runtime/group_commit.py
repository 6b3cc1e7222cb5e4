"""Group commit: one transaction writes the items of all threads that wait.

A commit costs a round trip and a flush of the disk, whether it holds one row or fifty. So the first thread leads: it
runs all waiting items in one go. Threads that come meanwhile wait, and one of them leads the next round. No thread
waits on purpose: with one thread each round is a batch of one, and with many threads the batches grow by themselves.
"""

from collections import deque
from collections.abc import Callable, Sequence
from threading import Event, Lock
from typing import Generic, TypeVar

from sqlalchemy.exc import DBAPIError

T = TypeVar("T")
R = TypeVar("R")


class _Entry(Generic[T, R]):
    """The item of one thread. `ready` is set when its result is there, or when this thread must lead the next round."""

    __slots__ = ("error", "item", "ready", "result")

    def __init__(self, item: T) -> None:
        self.item = item
        self.ready = Event()
        self.result: list[R] = []
        self.error: BaseException | None = None


class GroupCommit(Generic[T, R]):
    """Calls `run` with the items of all threads that wait, and returns to each thread the result of its own item.

    `run` takes up to `most` items, and returns one result for each, in their order. If it raises while the database is
    there, the items are run one by one, so that each thread gets its own error.
    """

    def __init__(self, run: Callable[[Sequence[T]], Sequence[R]], *, most: int = 100) -> None:
        self._run = run
        self._most = most
        self._lock = Lock()
        self._waiting: deque[_Entry[T, R]] = deque()
        self._led = False

    def __call__(self, item: T) -> R:
        entry: _Entry[T, R] = _Entry(item)
        with self._lock:
            self._waiting.append(entry)
            leads = not self._led
            self._led = True
        if not leads:
            entry.ready.wait()
        if not entry.result and entry.error is None:
            self._lead()
        if entry.error is not None:
            raise entry.error
        return entry.result[0]

    def _lead(self) -> None:
        # A leader is always the first in the queue, so its own item is in the round.
        with self._lock:
            batch = [self._waiting.popleft() for _ in range(min(self._most, len(self._waiting)))]
        try:
            self._round(batch)
        finally:
            with self._lock:
                successor = self._waiting[0] if self._waiting else None
                self._led = successor is not None
            for entry in batch:
                entry.ready.set()
            if successor is not None:
                successor.ready.set()

    def _round(self, batch: Sequence[_Entry[T, R]]) -> None:
        try:
            for entry, result in zip(batch, self._run([entry.item for entry in batch]), strict=True):
                entry.result.append(result)
        except BaseException as error:  # noqa: BLE001 - it is raised again, in the thread that it belongs to
            is_disconnected = isinstance(error, DBAPIError) and error.connection_invalidated
            if len(batch) == 1 or is_disconnected or not isinstance(error, Exception):
                for entry in batch:
                    entry.error = error
            else:
                for entry in batch:
                    entry.result.clear()
                    self._round([entry])

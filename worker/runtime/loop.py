"""Threads that go on with something from a bell on: a bell only wakes them, so no task of Celery's waits for what they do."""

import logging
from collections.abc import Callable, Hashable
from threading import Event, Lock, Thread
from typing import Generic, TypeVar

log = logging.getLogger(__name__)

Name = TypeVar("Name", bound=Hashable)


class Loop:
    """A thread that runs something once it is woken; and once more, if it was woken meanwhile.

    Where a store is away it stops: the tick rings for whatever is left once the store is back. Should it fail, that is logged
    as of any thread, and the next bell starts it anew.
    """

    def __init__(self, run: Callable[[], object], *, name: str, is_away: Callable[[Exception], bool]) -> None:
        """`is_away` knows the errors that say that a store is away, or that this machine does not know the time."""
        self._run = run
        self._is_away = is_away
        self._name = name
        self._woken = Event()
        self._over = False
        self._starting = Lock()
        self._thread: Thread | None = None

    def wake(self) -> None:
        """Has it run; returns at once."""
        self._woken.set()
        with self._starting:
            if self._thread is None or not self._thread.is_alive():
                self._thread = Thread(target=self._run_when_woken, name=self._name, daemon=True)
                self._thread.start()

    def finish(self) -> None:
        """Returns when a run that is under way is over. None begins any more."""
        self._over = True
        self._woken.set()
        if self._thread is not None and self._thread.is_alive():
            self._thread.join()

    def _run_when_woken(self) -> None:
        while self._woken.wait():
            self._woken.clear()
            # Looked at after that, or the end would be missed that was told just before it.
            if self._over:
                return
            try:
                self._run()
            except Exception as why:
                if not self._is_away(why):
                    raise
                log.warning("%s waits for Redis, the ledger or its clock: %s", self._name, why)


class RoundRobin(Generic[Name]):
    """A thread for several things, each known by its name: it does a part of one after the other, until nothing is left of any."""

    def __init__(
        self, do_part: Callable[[Name], bool], *, name: str, stopping: Event, is_away: Callable[[Exception], bool]
    ) -> None:
        """`do_part` tells whether there is more to do of what it is given. Nothing is begun once `stopping` is set."""
        self._do_part = do_part
        self._stopping = stopping
        self._waiting: dict[Name, None] = {}  # a set that keeps its order
        self._changing = Lock()
        self._loop = Loop(self._do_all, name=name, is_away=is_away)
        self._loop.wake()  # its thread begins now: later, calls may have taken all that the system gives

    def begin(self, what: Name) -> None:
        """Has it done when its turn comes; returns at once. What waits already is not done twice."""
        with self._changing:
            self._waiting[what] = None
        self._loop.wake()

    def finish(self) -> None:
        """Returns when the part that is under way is over. `stopping` is set by then."""
        self._loop.finish()

    def _do_all(self) -> None:
        while not self._stopping.is_set():
            with self._changing:
                if not self._waiting:
                    return
                what = next(iter(self._waiting))
                del self._waiting[what]
            if self._do_part(what):
                with self._changing:
                    self._waiting[what] = None

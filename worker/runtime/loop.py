"""Threads that work from a bell on. A bell only wakes its thread, so no Celery task waits for the work."""

import logging
from collections.abc import Callable, Hashable
from threading import Event, Lock, Thread
from typing import Generic, TypeVar

log = logging.getLogger(__name__)

Name = TypeVar("Name", bound=Hashable)


class Loop:
    """A thread that calls `run` when it is woken, and once more if it was woken meanwhile.

    Where a store is away the run ends: the tick rings for the rest once the store is back. Any other error ends the
    thread, is logged as of any thread, and the next bell starts the thread anew.
    """

    def __init__(self, run: Callable[[], object], *, name: str, is_away: Callable[[Exception], bool]) -> None:
        """`is_away` says whether an error means that a store is away, or that this machine's clock is wrong."""
        self._run = run
        self._is_away = is_away
        self._name = name
        self._woken = Event()
        self._over = False
        self._starting = Lock()
        self._thread: Thread | None = None

    def wake(self) -> None:
        """Starts a run and returns at once."""
        self._woken.set()
        with self._starting:
            if self._thread is None or not self._thread.is_alive():
                self._thread = Thread(target=self._run_when_woken, name=self._name, daemon=True)
                self._thread.start()

    def finish(self) -> None:
        """Returns when the current run is over. No further run begins."""
        self._over = True
        self._woken.set()
        if self._thread is not None and self._thread.is_alive():
            self._thread.join()

    def _run_when_woken(self) -> None:
        while self._woken.wait():
            self._woken.clear()
            # Read after `clear`, or a `finish` just before it would be missed.
            if self._over:
                return
            try:
                self._run()
            except Exception as error:
                if not self._is_away(error):
                    raise
                log.warning("%s waits for Redis, the ledger or its clock: %s", self._name, error)


class RoundRobin(Generic[Name]):
    """A thread for several jobs, each with a name. It does a part of each in turn, until all are done."""

    def __init__(
        self, do_part: Callable[[Name], bool], *, name: str, stopping: Event, is_away: Callable[[Exception], bool]
    ) -> None:
        """`do_part` does a part of the named job, and returns whether more of it is left.

        No part begins once `stopping` is set.
        """
        self._do_part = do_part
        self._stopping = stopping
        self._waiting: dict[Name, None] = {}  # a set that keeps its order
        self._changing = Lock()
        self._loop = Loop(self._do_all, name=name, is_away=is_away)
        self._loop.wake()  # starts the thread now: later, calls may have taken all the threads that the system gives

    def begin(self, job: Name) -> None:
        """Adds a job and returns at once. A job that waits already is not added twice."""
        with self._changing:
            self._waiting[job] = None
        self._loop.wake()

    def finish(self) -> None:
        """Returns when the current part is over. The caller has set `stopping` before."""
        self._loop.finish()

    def _do_all(self) -> None:
        while not self._stopping.is_set():
            with self._changing:
                if not self._waiting:
                    return
                job = next(iter(self._waiting))
                del self._waiting[job]
            if self._do_part(job):
                with self._changing:
                    self._waiting[job] = None

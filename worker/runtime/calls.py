"""Threads for the calls that a process makes side by side, each of them begun the moment it is asked for."""

import logging
from collections.abc import Callable
from queue import SimpleQueue
from threading import Condition, Thread

log = logging.getLogger(__name__)


class Calls:
    """Up to `most` calls side by side. A thread is started with the first call that needs one more, and then kept.

    Unlike an executor it never lets a call wait for a thread: a call that was claimed and is not being made would be lost to
    `unknown` with the process. Where the system gives no more threads, the call is made in the thread that asks for it.
    """

    def __init__(self, most: int, *, name: str) -> None:
        self._most = most
        self._name = name
        self._begun: SimpleQueue[Callable[[], object]] = SimpleQueue()
        self._change = Condition()
        self._busy = 0
        self._threads = 0

    def begin(self, call: Callable[[], object]) -> None:
        """Begins the call. Not for more at a time than `free` tells."""
        with self._change:
            self._busy += 1
            has_thread = self._busy <= self._threads or self._start_thread()
        if has_thread:
            self._begun.put(call)
        else:
            self._make(call)

    def free(self, *, at_least: int = 1, wait_seconds: float = 0) -> int:
        """How many more calls may be begun now. Waits so long for there to be that many, or as many as there ever are."""
        with self._change:
            self._change.wait_for(lambda: self._most - self._busy >= min(at_least, self._most), wait_seconds)
            return max(self._most - self._busy, 0)

    def finish(self) -> None:
        """Returns when every call that was begun is over."""
        with self._change:
            self._change.wait_for(lambda: not self._busy)

    def _start_thread(self) -> bool:
        thread = Thread(target=self._make_calls, name=f"{self._name}-{self._threads + 1}", daemon=True)
        try:
            thread.start()
        except RuntimeError as why:
            # Until more threads may be had, no more calls are claimed than there are threads for.
            self._most = max(self._threads, 1)
            log.error(  # noqa: TRY400 - the traceback says no more than this
                "%s: %s, so it makes at most %d calls at a time from now on; raise the limit of processes (pids_limit, "
                "ulimit -u) or lower --concurrency, and restart the worker",
                self._name, why, self._most,
            )  # fmt: skip
            return False
        self._threads += 1
        return True

    def _make_calls(self) -> None:
        while True:
            self._make(self._begun.get())

    def _make(self, call: Callable[[], object]) -> None:
        try:
            call()
        except Exception:
            # As Celery has it for a task: what the call came to is in the ledger, or its lease ends.
            log.exception("%s: a call failed", self._name)
        finally:
            with self._change:
                self._busy -= 1
                self._change.notify_all()

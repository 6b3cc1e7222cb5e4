"""Threads for the calls that a process makes at the same time. Each call begins at once."""

import logging
from collections.abc import Callable
from queue import SimpleQueue
from threading import Condition, Thread

log = logging.getLogger(__name__)


class CallThreads:
    """Makes up to `most` calls at the same time. It starts a thread when a call needs one more, and keeps it.

    Unlike an executor it never lets a call wait for a thread: if the process ends, a claimed call that waits becomes
    `unknown`. Where the system gives no more threads, the caller's own thread makes the call.
    """

    def __init__(self, most: int, *, name: str) -> None:
        self._most = most
        self._name = name
        self._begun: SimpleQueue[Callable[[], object]] = SimpleQueue()
        self._change = Condition()
        self._busy = 0
        self._threads = 0

    def begin(self, call: Callable[[], object]) -> None:
        """Begins the call. The caller may begin as many calls as `free` returns."""
        with self._change:
            self._busy += 1
            has_thread = self._busy <= self._threads or self._start_thread()
        if has_thread:
            self._begun.put(call)
        else:
            self._make(call)

    def free(self, *, at_least: int = 1, wait_seconds: float = 0) -> int:
        """Returns how many more calls may begin now. Waits up to `wait_seconds` until these are `at_least`, or all."""
        with self._change:
            self._change.wait_for(lambda: self._most - self._busy >= min(at_least, self._most), wait_seconds)
            return max(self._most - self._busy, 0)

    def finish(self) -> None:
        """Returns when every call is over."""
        with self._change:
            self._change.wait_for(lambda: not self._busy)

    def _start_thread(self) -> bool:
        thread = Thread(target=self._make_calls, name=f"{self._name}-{self._threads + 1}", daemon=True)
        try:
            thread.start()
        except RuntimeError as error:
            # The worker claims no more calls than it has threads, until it is restarted.
            self._most = max(self._threads, 1)
            log.error(  # noqa: TRY400 - the traceback says no more than this
                "%s: %s, so it makes at most %d calls at a time from now on; raise the limit of processes (pids_limit, "
                "ulimit -u) or lower --concurrency, and restart the worker",
                self._name, error, self._most,
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
            # Celery does the same for a task. The outcome of the call is in the ledger, or its lease ends.
            log.exception("%s: a call failed", self._name)
        finally:
            with self._change:
                self._busy -= 1
                self._change.notify_all()

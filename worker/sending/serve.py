"""Serve a lane: accepts what waits in its intake, claims what is due, and calls, for as long as there is something to
do.

The task of a bell wakes this up and ends at once. So no Celery task waits for the gateway, and pushes and the tick get
their threads however much there is to send. Each lane has its own threads for accepting, for claiming and for calls:
none waits for another. A process claims no more than it has threads free to call at once.
"""

import math
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from threading import Event

from worker.domain.submission import Claimed
from worker.runtime.call_threads import CallThreads
from worker.runtime.loop import Loop
from worker.sending.pull import Pulled

PULLED_AT_ONCE = 50
"""The calls that are claimed in one transaction: enough to share its cost, and few enough that the first of them begins
at once.
"""
REST = 2
"""In a backlog with few free places, the next claim waits this many times as long as the last one took. So more places
share it.
"""
LONGEST_REST_SECONDS = 0.1
LOOK_SECONDS = 0.5
"""The time from one look whether a thread is free, or the clock is right, to the next."""
PASS_ON_SECONDS = 0.05
LONGEST_PASS_ON_SECONDS = 1.0
"""A worker that may not call keeps a bell for PASS_ON_SECONDS at first, and for this long at most."""
RING_SECONDS = 0.1
"""The time from one bell for the other workers to the next. A woken worker stays for as long as there is something to
do.
"""


@dataclass(frozen=True)
class Verbs:
    """The functions that serving a lane consists of."""

    may_work: Callable[[], bool]
    """Returns whether this process may take anything on now: its clock is right."""
    take_call_allowance: Callable[[], int]
    """Returns how many calls this process may take on now, as far as it reaches the gateway."""
    take_in: Callable[[], bool]
    """Accepts some of what waits in the intake. Returns whether there may be more."""
    pull: Callable[[int], Pulled]
    """Claims up to that many calls."""
    submit: Callable[[Claimed], object]
    """Makes a claimed call, and records its outcome."""
    ring: Callable[[], object]
    """Tells another worker that there is more to do than this one can."""
    is_away: Callable[[Exception], bool]
    """Returns whether an error says that a store is away, or that this machine does not know the time."""
    only_waiter: Callable[[], AbstractContextManager[bool]]
    """Yields whether this process alone, of all, waits for tokens of the lane within the block."""


class Server:
    """Serves one lane in one process, from the first bell on. `stopping` is set when this process is told to end."""

    def __init__(self, name: str, verbs: Verbs, *, calls_at_once: int, stopping: Event) -> None:
        self._verbs = verbs
        self._stopping = stopping
        self._calls = CallThreads(calls_at_once, name=f"call-{name}")
        self._accepting = Loop(self._accept, name=f"accept-{name}", is_away=verbs.is_away)
        self._sending = Loop(self._send, name=f"send-{name}", is_away=verbs.is_away)
        self._worth_a_claim = min(PULLED_AT_ONCE, calls_at_once // 2)
        self._rung_at = self._passed_on_at = -math.inf
        self._pass_on_seconds = PASS_ON_SECONDS

    def wake(self) -> None:
        """Starts the work that waits in the lane. Returns at once."""
        self._accepting.wake()
        self._sending.wake()

    def call(self, claimed: Claimed) -> None:
        """Starts a call that was claimed elsewhere: a probe of a closed gate."""
        self._calls.begin(partial(self._verbs.submit, claimed))

    def finish(self) -> None:
        """Returns when all calls under way are over and recorded. `stopping` is set by then, so no others begin."""
        self._accepting.finish()
        self._sending.finish()
        self._calls.finish()

    def _accept(self) -> None:
        more = True
        while more and self._goes_on():
            more = self._verbs.take_in()
            self._sending.wake()

    def _send(self) -> None:
        rest = 0.0
        while self._goes_on():
            places = self._calls.free(wait_seconds=LOOK_SECONDS)
            if places and rest:
                places = self._calls.free(at_least=self._worth_a_claim, wait_seconds=rest)
            if not places:
                continue
            # Asked after the wait for a place, because the call that frees a place shows whether the gateway is
            # reached.
            most = self._verbs.take_call_allowance()
            if not most:
                break
            begun = time.monotonic()
            pulled = self._verbs.pull(min(places, most, PULLED_AT_ONCE))
            rest = min(REST * (time.monotonic() - begun), LONGEST_REST_SECONDS) if pulled.more else 0
            for claimed in pulled.claimed:
                self._calls.begin(partial(self._verbs.submit, claimed))
            if pulled.more:
                self._call_for_help()
            elif pulled.wait and not pulled.claimed:
                with self._verbs.only_waiter() as mine:
                    if not mine:
                        return
                    # No longer, because another account of the lane may have tokens for what comes meanwhile.
                    self._stopping.wait(min(pulled.wait, LOOK_SECONDS))
            elif not pulled.wait:
                return
        self._pass_on()

    def _pass_on(self) -> None:
        """Rings for another worker. Where none reaches the gateway the bell may come back, so each time it waits
        longer.
        """
        soon = time.monotonic() - self._passed_on_at > 2 * LONGEST_PASS_ON_SECONDS
        self._pass_on_seconds = PASS_ON_SECONDS if soon else min(2 * self._pass_on_seconds, LONGEST_PASS_ON_SECONDS)
        self._stopping.wait(self._pass_on_seconds)
        self._passed_on_at = time.monotonic()
        self._verbs.ring()

    def _goes_on(self) -> bool:
        """Waits while nothing may be taken on. Returns False when it is time to end."""
        while not self._verbs.may_work():
            if self._stopping.wait(LOOK_SECONDS):
                break
        return not self._stopping.is_set()

    def _call_for_help(self) -> None:
        now = time.monotonic()
        if now - self._rung_at >= RING_SECONDS:
            self._rung_at = now
            self._verbs.ring()

"""Reachability: a process that does not reach the gateway takes nothing from the lanes, and the others go on.

It says so once, and `sms doctor` shows it. A process without a connection tries to connect, without a message, and goes
on when it succeeds. Where the gateway is away for all processes, all of them stop in this way. No message is lost by
it: what was not sent waits, and goes out later.

A process may be unanswered while others are answered: a proxy or an address between it and the gateway answers for the
gateway. Only a call can tell whether that is over, so the process makes one now and then.
"""

import logging
import math
import sys
import threading
from collections.abc import Callable
from datetime import datetime, timedelta

from worker.domain.outcome import Outcome, Verdict
from worker.domain.submission import Claimed
from worker.redis_store.sick_workers import Sick
from worker.runtime.process import process_name

log = logging.getLogger(__name__)

IN_A_ROW = 10
"""One connection that fails is bad luck. After this many calls in a row without one, the process has no connection."""
LOOK_AGAIN_SECONDS = 5.0
TRY_AGAIN_SECONDS = 30.0
"""A call that is made to see whether it is answered may end as `unknown`."""
DOUBT_SECONDS = 1.0
"""The time from one call to the next of a process in doubt: nobody knows yet whether others are answered."""
LEFT_TO_OTHERS = 0.9
"""The share of probes that a process in doubt leaves to others. It is not all of them, because no process may be
answered.
"""
ALL = sys.maxsize


class Reachability:
    """Keeps what this process knows of its way to the gateway. It is safe to use from many threads. Most outcomes cost
    nothing.

    `connect` opens a connection to the gateway, and returns the reason why it cannot, or None. `tell` tells the other
    processes that this one is sick, or well (None). `pause` waits for the given number of seconds, and returns True
    where it is time to end. `monotonic` counts seconds. `random` returns 0 to 1.
    """

    def __init__(
        self,
        *,
        connect: Callable[[], str | None],
        tell: Callable[[Sick | None], object],
        pause: Callable[[float], bool],
        monotonic: Callable[[], float],
        random: Callable[[], float],
    ) -> None:
        self._random = random
        self._connect, self._tell, self._pause, self._monotonic = connect, tell, pause, monotonic
        self._lock = threading.Lock()
        self._not_sent = self._unanswered = 0
        self._stopped = self._waits_for_trial = False
        self._trial_calls = 0
        self.doubted_since: datetime | None = None
        """The time of the tenth unanswered call in a row."""
        self._tried_at = -math.inf

    def may_probe(self) -> bool:
        """Returns whether this process may probe a gate now. A process that stopped may use its trial call for that."""
        if self._stopped:
            return self.take_call_allowance() > 0
        return self.doubted_since is None or self._random() >= LEFT_TO_OTHERS

    def take_call_allowance(self) -> int:
        """Returns how many calls this process may take from the lanes now: all, none, or one as a trial.

        After ten unanswered calls in a row it is one each second, for as long as nobody knows whether others are
        answered.
        """
        if not self._stopped and self._unanswered < IN_A_ROW:
            return ALL
        with self._lock:
            if not self._stopped and self._monotonic() - self._tried_at >= DOUBT_SECONDS:
                self._tried_at = self._monotonic()
                return 1
            calls, self._trial_calls = self._trial_calls, 0
        return calls

    def note(self, outcome: Outcome, now: datetime) -> None:
        """Notes the outcome of a call.

        After ten calls in a row without a connection, this process stops until it gets one.
        """
        if outcome.verdict is Verdict.NOT_SENT:
            with self._lock:
                self._not_sent += 1
            if self._not_sent >= IN_A_ROW:
                self._stop(outcome, tries=False)
            return
        self._not_sent = 0
        if outcome.is_unanswered:
            with self._lock:
                self._unanswered += 1
                if self._unanswered == IN_A_ROW:
                    self.doubted_since = now
            return
        self._unanswered, self.doubted_since = 0, None
        if self._waits_for_trial:
            self._stopped = self._waits_for_trial = False

    def stop_as_others_are_answered(self, outcome: Outcome) -> None:
        """Notes that calls of others were accepted since `doubted_since`. This process stops, until one of its own
        calls is answered.
        """
        self._stop(outcome, tries=True)

    def _stop(self, outcome: Outcome, *, tries: bool) -> None:
        with self._lock:
            if self._stopped:
                return
            self._stopped, self._waits_for_trial = True, tries
        # A daemon, because the process need not wait for it at its end: it holds nothing.
        thread = threading.Thread(target=self._until_well, args=(outcome.tips or "", tries), name="reach", daemon=True)
        try:
            thread.start()
        except RuntimeError:
            # Without this thread the process would be stopped for ever.
            self._stopped, self._not_sent, self._unanswered, self.doubted_since = False, 0, 0, None
            raise

    def _until_well(self, reason: str, tries: bool) -> None:
        log.error(
            "this worker does not reach the gateway, and takes nothing until it does; the others go on. "
            "Let this machine reach SMS_GATEWAY_URL (network, name, proxy, certificates): %s",
            reason,
        )
        # No error may end this thread early: the process would take nothing for ever, and nobody would learn of it.
        since = self._monotonic()
        current: str | None = reason
        while current is not None:
            self._say(Sick(process_name(), current, timedelta(seconds=self._monotonic() - since)))
            if self._pause(TRY_AGAIN_SECONDS if tries else LOOK_AGAIN_SECONDS):
                self._say(None)
                return
            current = self._try(reason) if tries else self._look()
        self._not_sent = self._unanswered = 0
        self.doubted_since = None
        self._stopped = False
        self._say(None)
        log.warning("this worker reaches the gateway again, and goes on")

    def _try(self, reason: str) -> str | None:
        if not self._stopped:
            return None
        self._trial_calls = 1
        return reason

    def _say(self, sick: Sick | None) -> None:
        try:
            self._tell(sick)
        except Exception:
            log.exception("cannot report this worker's state to `sms doctor`")

    def _look(self) -> str | None:
        try:
            return self._connect()
        except Exception as error:
            log.exception("this worker cannot check whether it reaches the gateway, and tries again")
            return f"it cannot look for a connection: {type(error).__name__}: {error}"


def noting(
    reach: Reachability,
    update_gate: Callable[[Claimed, Outcome], object],
    was_accepted_since: Callable[[int, datetime], bool],
    clock: Callable[[], datetime],
) -> Callable[[Claimed, Outcome], None]:
    """Returns the function that updates the gate after each outcome, and notes whether this process reaches the
    gateway.

    `was_accepted_since` says whether the gateway has accepted a call of that account since then, whichever worker made
    it.
    """

    def note(claimed: Claimed, outcome: Outcome) -> None:
        reach.note(outcome, clock())
        update_gate(claimed, outcome)
        since = reach.doubted_since
        if since is not None and outcome.is_unanswered and was_accepted_since(claimed.account_id, since):
            reach.stop_as_others_are_answered(outcome)

    return note

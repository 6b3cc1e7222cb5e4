"""Whether this process reaches the gateway. One that does not takes nothing from the lanes, and the others go on.

It says so, once, and is seen by `sms doctor`. One that gets no connection looks for itself, without a message, and goes on when it
gets one. Where the gateway is away for all, all stop so: nothing is burnt, for what was not sent waits and goes out later.

One whose calls are not answered, though those of others are, has a proxy or an address between it and the gateway that answers
for it. Only a call can tell whether that is over, so it makes one now and then.
"""

import logging
import math
import sys
import threading
from collections.abc import Callable
from datetime import datetime, timedelta

from worker.domain.outcome import Outcome, Verdict
from worker.domain.submission import Claimed
from worker.redis_store.complaints import process_name
from worker.redis_store.sick_workers import Sick

log = logging.getLogger(__name__)

IN_A_ROW = 10
"""One connection that does not come about is bad luck; so many calls in a row without one, and this process has none."""
LOOK_AGAIN_SECONDS = 5.0
TRY_AGAIN_SECONDS = 30.0
"""A call that is made to see whether it is answered may be lost to `unknown`."""
DOUBT_SECONDS = 1.0
"""From one call to the next of a process of which nobody knows yet whether others are answered."""
LEFT_TO_OTHERS = 0.9
"""The share of probes that such a process leaves to others: not all, for those of none may be answered."""
ALL = sys.maxsize


class Reachability:
    """What this process knows of its way to the gateway. Safe to use from many threads; most outcomes cost nothing.

    `connect` opens a connection to the gateway and says why it cannot, or None; `tell` tells the others that this process is
    sick, or well (None); `pause` waits so many seconds, and answers True where it is time to end; `monotonic` counts seconds;
    `random` gives 0 to 1.
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
        self._stopped = self._tries = False
        self._trial_calls = 0
        self.doubted_since: datetime | None = None
        """When the tenth call in a row was not answered."""
        self._tried_at = -math.inf

    def may_probe(self) -> bool:
        """Whether this process may probe a gate now. One that stopped may with the call that it has to try whether it is answered."""
        if self._stopped:
            return self.most_calls() > 0
        return self.doubted_since is None or self._random() >= LEFT_TO_OTHERS

    def most_calls(self) -> int:
        """How many calls this process may take from the lanes now: all, none, or one to try whether it is answered.

        One each second also after ten in a row that were not answered, for as long as nobody knows whether those of others are.
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
        """Notes what came of a call. After ten in a row that got no connection this process stops, until it gets one."""
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
        if self._tries:
            self._stopped = self._tries = False

    def others_are_answered(self, outcome: Outcome) -> None:
        """Notes that calls of others were accepted since `doubted_since`: this process stops, until one of its own is answered."""
        self._stop(outcome, tries=True)

    def _stop(self, outcome: Outcome, *, tries: bool) -> None:
        with self._lock:
            if self._stopped:
                return
            self._stopped, self._tries = True, tries
        # Not of those that the process waits for at its end: it holds nothing.
        thread = threading.Thread(target=self._until_well, args=(outcome.tips or "", tries), name="reach", daemon=True)
        try:
            thread.start()
        except RuntimeError:
            # Without a thread that looks, it would be stopped for ever.
            self._stopped, self._not_sent, self._unanswered, self.doubted_since = False, 0, 0, None
            raise

    def _until_well(self, reason: str, tries: bool) -> None:
        log.error(
            "this worker does not reach the gateway and takes nothing until it does, the others go on; "
            "let this machine out to SMS_GATEWAY_URL (network, name, proxy, certificates): %s",
            reason,
        )
        # Nothing may end this thread before: the process would take nothing for ever, and nobody would be told.
        since = self._monotonic()
        why: str | None = reason
        while why is not None:
            self._say(Sick(process_name(), why, timedelta(seconds=self._monotonic() - since)))
            if self._pause(TRY_AGAIN_SECONDS if tries else LOOK_AGAIN_SECONDS):
                self._say(None)
                return
            why = self._try(reason) if tries else self._look()
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
            log.exception("`sms doctor` cannot be told how this worker is")

    def _look(self) -> str | None:
        try:
            return self._connect()
        except Exception as error:
            log.exception("this worker cannot look whether it reaches the gateway, and tries again")
            return f"it cannot look for a connection: {type(error).__name__}: {error}"


def noting(
    reach: Reachability,
    update_gate: Callable[[Claimed, Outcome], object],
    was_accepted_since: Callable[[int, datetime], bool],
    clock: Callable[[], datetime],
) -> Callable[[Claimed, Outcome], None]:
    """Returns the function that is told of each outcome: it updates the gate, and notes whether this process reaches the gateway.

    `was_accepted_since` says whether the gateway has accepted a call of that account since then, whichever worker made it.
    """

    def note(claimed: Claimed, outcome: Outcome) -> None:
        reach.note(outcome, clock())
        update_gate(claimed, outcome)
        since = reach.doubted_since
        if since is not None and outcome.is_unanswered and was_accepted_since(claimed.account_id, since):
            reach.others_are_answered(outcome)

    return note

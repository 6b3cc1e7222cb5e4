"""Whether this process reaches the gateway. One that gets no connection takes nothing from the lanes, and the others go on.

It says so, once, and is seen by `sms doctor`; it looks for itself, without a message, and goes on when it gets a connection.
Where the gateway is away for all, all stop so: nothing is burnt, for what was not sent waits and goes out later.
"""

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta

from redis import Redis
from redis.exceptions import RedisError

from worker.complaints import complain, complaints, name, withdraw
from worker.domain.outcome import Outcome, Verdict

log = logging.getLogger(__name__)

NOT_SENT_IN_A_ROW = 10
"""One connection that does not come about is bad luck; so many calls in a row without one, and this process has none."""
LOOK_AGAIN_SECONDS = 5.0
SEEN_FOR = timedelta(minutes=1)
"""Who has said nothing of it for so long was ended, or is well."""

_SICK = "sms:sick"


@dataclass(frozen=True, slots=True)
class Sick:
    """A process that does not reach the gateway, as HOST/PID; why, and for how long, by whatever clock."""

    worker: str
    reason: str
    lasts: timedelta


class Reachability:
    """What this process knows of its way to the gateway. Safe to use from many threads; most outcomes cost nothing.

    `connect` opens a connection to the gateway and says why it cannot, or None; `tell` tells the others that this process is
    sick, or well (None); `pause` waits so many seconds, and answers True where it is time to end; `monotonic` counts seconds.
    """

    def __init__(
        self,
        *,
        connect: Callable[[], str | None],
        tell: Callable[[Sick | None], object],
        pause: Callable[[float], bool],
        monotonic: Callable[[], float],
    ) -> None:
        self._connect, self._tell, self._pause, self._monotonic = connect, tell, pause, monotonic
        self._lock = threading.Lock()
        self._in_a_row = 0
        self._stopped = False

    def may_call(self) -> bool:
        """Whether this process may take something from the lanes and call: it costs nothing to ask."""
        return not self._stopped

    def note(self, outcome: Outcome) -> None:
        """Notes what came of a call. After ten in a row that got no connection this process stops, until it gets one."""
        if outcome.verdict is not Verdict.NOT_SENT:
            self._in_a_row = 0
            return
        with self._lock:
            self._in_a_row += 1
            if self._stopped or self._in_a_row < NOT_SENT_IN_A_ROW:
                return
            self._stopped = True
        # Not of those that the process waits for at its end: it holds nothing.
        thread = threading.Thread(target=self._until_well, args=(outcome.tips or "",), name="reach", daemon=True)
        try:
            thread.start()
        except RuntimeError:
            # Without a thread that looks, it would be stopped for ever.
            self._stopped, self._in_a_row = False, 0
            raise

    def _until_well(self, reason: str) -> None:
        log.error(
            "this worker does not reach the gateway and takes nothing until it does, the others go on; "
            "let this machine out to SMS_GATEWAY_URL (network, name, proxy, certificates): %s",
            reason,
        )
        # Nothing may end this thread before: the process would take nothing for ever, and nobody would be told.
        since = self._monotonic()
        why: str | None = reason
        while why is not None:
            self._say(Sick(name(), why, timedelta(seconds=self._monotonic() - since)))
            if self._pause(LOOK_AGAIN_SECONDS):
                self._say(None)
                return
            why = self._look()
        self._in_a_row = 0
        self._stopped = False
        self._say(None)
        log.warning("this worker reaches the gateway again, and goes on")

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


def tell(redis: Redis, sick: Sick | None) -> None:
    """Tells the others whether this process is sick. It never raises: who cannot be told now is told 5 seconds later."""
    try:
        if sick is None:
            withdraw(redis, _SICK, name())
        else:
            complain(redis, _SICK, sick.worker, f"{sick.lasts.total_seconds():.0f} {sick.reason}", kept=SEEN_FOR)
    except RedisError as why:
        log.warning("`sms doctor` cannot be told how this worker is, for Redis is away: %s", why)


def sick_workers(redis: Redis) -> list[Sick]:
    """The processes that say that they do not reach the gateway, by name. Raises redis' exceptions."""
    found = []
    for worker, (text, ago) in complaints(redis, _SICK, kept=SEEN_FOR).items():
        seconds, _, reason = text.partition(" ")
        found.append(Sick(worker, reason, timedelta(seconds=float(seconds)) + ago))
    return found

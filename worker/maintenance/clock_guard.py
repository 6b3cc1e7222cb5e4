"""A process whose clock is wrong takes nothing. It compares its clock with those of Redis and the ledger, at its start
and each minute.
"""

import logging
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from threading import Lock

from redis import Redis
from redis.exceptions import RedisError
from sqlalchemy import Engine
from sqlalchemy.exc import OperationalError
from sqlalchemy.exc import TimeoutError as NoConnectionFree

from worker.domain.clock import WrongClock, in_words, is_wrong, skew
from worker.ledger.health import ledger_time
from worker.redis_store.clock import redis_time
from worker.redis_store.complaints import complain, complaints, withdraw

log = logging.getLogger(__name__)

CHECK_SECONDS = 60.0
CHECK_SECONDS_WRONG = 5.0
"""The time until a wrong clock is compared again. It is shorter, so that a corrected clock soon counts as right."""
NOTABLE_JUMP = timedelta(seconds=5)
"""If our clock and the time that passed differ by more, somebody has set the clock. It is compared at once."""

_WRONG = "sms:wrong_clocks"
_KEPT = timedelta(minutes=2)
"""A complaint about a clock that is older than this no longer counts: its process is gone."""

Clock = Callable[[], datetime]


def skews(redis: Redis, engine: Engine | None, clock: Clock) -> dict[str, timedelta]:
    """Returns how far our clock is ahead of those of Redis and of the ledger, by name. A store that is away is left
    out. SQLite has no clock but ours.
    """
    clocks: dict[str, Callable[[], datetime | None]] = {"Redis": lambda: redis_time(redis)}
    if engine is not None:
        clocks["the ledger"] = lambda: ledger_time(engine)
    ahead = {}
    for name, read_theirs in clocks.items():
        before = clock()
        try:
            theirs = read_theirs()
        except (RedisError, OperationalError, NoConnectionFree):
            continue
        if theirs is not None:
            ahead[name] = skew(before, theirs, clock())
    return ahead


class ClockGuard:
    """Gives the time, and says whether the clock allows this process to work. The threads of a process share one.

    Where the clock is off by less than the bound, the time is corrected by that much, because processes compare their
    times.
    """

    def __init__(
        self, redis: Redis, engine: Engine, name: str, *, clock: Clock, monotonic: Callable[[], float]
    ) -> None:
        """`name` is how `sms doctor` shows the process. `monotonic` counts seconds, whatever is done to the clock."""
        self._redis = redis
        self._engine = engine
        self._name = name
        self._clock = clock
        self._monotonic = monotonic
        self._looking = Lock()
        self._looked_at: tuple[datetime, float] | None = None
        self._is_wrong = False
        self._ahead = timedelta(0)

    def time(self) -> datetime:
        """Returns the time, whether the clock is right or not: for what has to be written in any case."""
        return self._clock() - self._ahead

    def now(self) -> datetime:
        """Returns the time. Raises WrongClock."""
        now = self._clock()
        # Checked after the clock was read, so that a clock that was just set is found out.
        if not self.may_work():
            raise WrongClock("this machine's clock is wrong: put it right (NTP)")
        return now - self._ahead

    def may_work(self) -> bool:
        """Returns whether the clock was right when it was last compared, or cannot be compared. Compares it again where
        that is due, in two round trips.
        """
        if not self._is_due():
            return not self._is_wrong
        # At the start, and where somebody set the clock, all threads wait for the comparison. Otherwise one thread
        # compares, and the others go by the last result.
        if self._looking.acquire(blocking=self._looked_at is None or self._was_set(*self._looked_at)):
            try:
                if self._is_due():
                    self._look()
            finally:
                self._looking.release()
        return not self._is_wrong

    def _is_due(self) -> bool:
        if self._looked_at is None:
            return True
        passed = self._monotonic() - self._looked_at[1]
        return passed >= (CHECK_SECONDS_WRONG if self._is_wrong else CHECK_SECONDS) or self._was_set(*self._looked_at)

    def _was_set(self, at: datetime, counted: float) -> bool:
        return abs(self._clock() - at - timedelta(seconds=self._monotonic() - counted)) > NOTABLE_JUMP

    def _look(self) -> None:
        ahead = skews(self._redis, self._engine, self._clock)
        wrong = is_wrong(ahead.values())
        if wrong and not self._is_wrong:
            log.error(
                "this machine's clock is %s of that of %s: nothing is taken until it is put right (NTP)",
                in_words(ahead.values()),
                " and ".join(ahead),
            )
        if self._is_wrong and ahead and not wrong:
            log.warning("this machine's clock is right again")
        if ahead:
            self._tell(ahead, wrong)
            # Where no store answered, the clock counts as what it was before.
            self._is_wrong = wrong
            self._ahead = timedelta(0) if wrong else min(ahead.values(), key=abs)
        self._looked_at = self._clock(), self._monotonic()

    def _tell(self, ahead: Mapping[str, timedelta], wrong: bool) -> None:
        try:
            if wrong:
                complain(self._redis, _WRONG, self._name, in_words(ahead.values()), kept=_KEPT)
            elif self._is_wrong:
                withdraw(self._redis, _WRONG, self._name)
        except RedisError as error:
            log.warning("Redis cannot take the note about this machine's clock: %s", error)


def wrong_clocks(redis: Redis) -> dict[str, str]:
    """Returns the processes that take nothing because their clocks are wrong, and how far these are off. Raises redis'
    exceptions.
    """
    return {process: how for process, (how, _) in complaints(redis, _WRONG, kept=_KEPT).items()}

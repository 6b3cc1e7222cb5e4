"""A process whose clock is wrong takes nothing: it compares it with Redis' and the ledger's, at its start and each minute."""

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
from worker.ledger.backlog import ledger_time
from worker.redis_store.clock import redis_time
from worker.redis_store.complaints import complain, complaints, withdraw

log = logging.getLogger(__name__)

CHECK_SECONDS = 60.0
CHECK_SECONDS_WRONG = 5.0
"""So that a clock that was put right is soon of use."""
NOTABLE_JUMP = timedelta(seconds=5)
"""Of our clock against the time that passed: somebody has set it, so it is compared at once."""

_WRONG = "sms:wrong_clocks"
_KEPT = timedelta(minutes=2)
"""What a process told of its clock longer ago counts no more: it is gone."""

Clock = Callable[[], datetime]


def skews(redis: Redis, engine: Engine | None, clock: Clock) -> dict[str, timedelta]:
    """How far our clock is ahead of Redis' and of the ledger's; without whoever is away. SQLite has no clock but ours."""
    asked: dict[str, Callable[[], datetime | None]] = {"Redis": lambda: redis_time(redis)}
    if engine is not None:
        asked["the ledger"] = lambda: ledger_time(engine)
    found = {}
    for name, ask in asked.items():
        before = clock()
        try:
            theirs = ask()
        except (RedisError, OperationalError, NoConnectionFree):
            continue
        if theirs is not None:
            found[name] = skew(before, theirs, clock())
    return found


class ClockGuard:
    """The time, and whether this process may work, as far as its clock goes. Its threads share one.

    Where the clock is off by less than the bound, the time is put right by as much: the processes compare times of one another.
    """

    def __init__(
        self, redis: Redis, engine: Engine, name: str, *, clock: Clock, monotonic: Callable[[], float]
    ) -> None:
        """`name` is how `sms doctor` shows the process; `monotonic` counts seconds whatever is done to the clock."""
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
        """What time it is, whether the clock is right or not: for what has to be written down in any case."""
        return self._clock() - self._ahead

    def now(self) -> datetime:
        """What time it is. Raises WrongClock."""
        now = self._clock()
        # Looked at after the clock was read: so a clock that was just set is found out.
        if not self.may_work():
            raise WrongClock("this machine's clock is wrong: put it right (NTP)")
        return now - self._ahead

    def may_work(self) -> bool:
        """Whether the clock is right, as last looked at, or cannot be compared. Looks anew where that is due: two round trips."""
        if not self._is_due():
            return not self._is_wrong
        # At the start and where somebody set the clock all wait for the look; else one looks, and the others go by the last.
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
        found = skews(self._redis, self._engine, self._clock)
        wrong = is_wrong(found.values())
        if wrong and not self._is_wrong:
            log.error(
                "this machine's clock is %s of that of %s: nothing is taken until it is put right (NTP)",
                in_words(found.values()),
                " and ".join(found),
            )
        if self._is_wrong and found and not wrong:
            log.warning("this machine's clock is right again")
        if found:
            self._tell(found, wrong)
            # Where nobody could be asked, it is as wrong as it was.
            self._is_wrong = wrong
            self._ahead = timedelta(0) if wrong else min(found.values(), key=abs)
        self._looked_at = self._clock(), self._monotonic()

    def _tell(self, found: Mapping[str, timedelta], wrong: bool) -> None:
        try:
            if wrong:
                complain(self._redis, _WRONG, self._name, in_words(found.values()), kept=_KEPT)
            elif self._is_wrong:
                withdraw(self._redis, _WRONG, self._name)
        except RedisError as why:
            log.warning("Redis cannot be told of this machine's clock: %s", why)


def wrong_clocks(redis: Redis) -> dict[str, str]:
    """The processes that take nothing for their clocks are wrong, and how far these are off. Raises redis' exceptions."""
    return {process: how for process, (how, _) in complaints(redis, _WRONG, kept=_KEPT).items()}

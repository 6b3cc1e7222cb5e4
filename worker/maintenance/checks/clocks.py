"""The clocks of this machine, of Redis and the ledger, and of the processes that reported a wrong one."""

from collections.abc import Callable
from datetime import datetime

from redis import Redis
from sqlalchemy import Engine

from worker.domain.clock import BOUND, in_words, is_wrong
from worker.maintenance.checks.check import Check, judge
from worker.maintenance.clock_guard import skews, wrong_clocks


def check_clocks(redis: Redis, engine: Engine | None, clock: Callable[[], datetime]) -> Check:
    """This machine's clock against those of Redis and the ledger, and the clocks that processes reported as wrong.

    Raises RedisError.
    """
    skew_by_store = skews(redis, engine, clock)
    faults = [f"{name}: {skew}" for name, skew in wrong_clocks(redis).items()]
    distant = [(name, skew) for name, skew in skew_by_store.items() if abs(skew) > BOUND]
    if is_wrong(skew_by_store.values()):
        faults.insert(0, f"here {in_words(skew_by_store.values())}")
    elif distant:
        name, skew = distant[0]
        faults.insert(0, f"that of {name} differs from this machine's by {abs(skew.total_seconds()):.0f} s")
    remedy = "set that machine's clock (NTP): a process whose clock is wrong takes nothing"
    within = f"within {BOUND.total_seconds():.0f} s of {' and '.join(skew_by_store)}"
    return judge("clocks", not faults, "; ".join(faults) or within, remedy)

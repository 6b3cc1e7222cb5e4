"""What `sms doctor` looks at, in the order in which it shows it. Each subject has a module.

Nothing is sent and nothing is changed. One check writes, to see whether the ledger can be written.
"""

from collections.abc import Callable, Collection, Iterator
from datetime import datetime
from typing import Any

from redis import Redis
from sqlalchemy import Connection, Engine

from worker.config import Settings
from worker.maintenance.checks import ledger, pushes, redis
from worker.maintenance.checks.check import LOOK, OK, WRONG, Check
from worker.maintenance.checks.clocks import check_clocks
from worker.maintenance.checks.gateway import check_gateway
from worker.maintenance.checks.settings import check_settings
from worker.redis_store.clock import redis_time

__all__ = ["LOOK", "OK", "WRONG", "Check", "check_gateway", "check_ledger", "check_redis", "check_settings", "ledger"]


def check_redis(store: Redis, engine: Engine | None, clock: Callable[[], datetime]) -> Iterator[Check]:
    """Redis and what waits in it. Times are compared by the clock of Redis, from which no process may be far.

    Raises RedisError where Redis cannot be asked.
    """
    now = redis_time(store)
    info: Any = store.info()
    yield redis.check_version(info)
    yield redis.check_aof(info)
    yield redis.check_when_full(info)
    yield redis.check_memory(store, info)
    yield redis.check_tick(store, now)
    yield from redis.check_workers(store)
    yield redis.check_queues(store)
    yield from redis.check_strange_queues(store)
    yield from redis.check_moved_keys(store)
    yield redis.check_intake(store, now)
    yield redis.check_unknown_accounts(store)
    yield pushes.check_room_in_redis(store)
    yield check_clocks(store, engine, clock)


def check_ledger(
    connection: Connection, settings: Settings, known: Collection[str] | None, now: datetime
) -> Iterator[Check]:
    """What waits in the ledger, and what waits for a person there.

    `known` are the accounts of all workers; None where no worker has announced them.
    """
    yield from ledger.check_superuser(connection)
    yield from ledger.check_submissions(connection, now)
    yield from ledger.check_gates(connection, known)
    yield from ledger.check_account_clocks(connection)
    yield ledger.check_unknown(connection)
    yield from ledger.check_refused(connection, now)
    yield pushes.check_unprocessed(connection, now)
    yield pushes.check_quarantined(connection)
    yield ledger.check_removed_accounts(connection, known)
    yield pushes.check_budget(connection, settings.push_hourly_mib, now)
    yield pushes.check_optouts(connection, now)

"""The workers that do not reach the gateway. Each reports itself, and `sms doctor` shows them."""

import logging
from dataclasses import dataclass
from datetime import timedelta

from redis import Redis
from redis.exceptions import RedisError

from worker.redis_store.complaints import complain, complaints, withdraw
from worker.runtime.process import process_name

log = logging.getLogger(__name__)

SEEN_FOR = timedelta(minutes=1)
"""A worker that has not reported itself for this long has ended, or is well."""

_SICK = "sms:sick"


@dataclass(frozen=True, slots=True)
class Sick:
    """A process that does not reach the gateway: its name (HOST/PID), the reason, and for how long.

    `lasts` is a duration, so it does not depend on any clock.
    """

    worker: str
    reason: str
    lasts: timedelta


def report_health(redis: Redis, sick: Sick | None) -> None:
    """Reports whether this process is sick; None is well. It never raises: the next report follows in 5 seconds."""
    try:
        if sick is None:
            withdraw(redis, _SICK, process_name())
        else:
            complain(redis, _SICK, sick.worker, f"{sick.lasts.total_seconds():.0f} {sick.reason}", kept=SEEN_FOR)
    except RedisError as error:
        log.warning("Redis is away, so this worker cannot report its state to `sms doctor`: %s", error)


def sick_workers(redis: Redis) -> list[Sick]:
    """The processes that report that they do not reach the gateway, in order of name. Raises redis' exceptions."""
    workers = []
    for worker, (text, age) in complaints(redis, _SICK, kept=SEEN_FOR).items():
        seconds, _, reason = text.partition(" ")
        workers.append(Sick(worker, reason, timedelta(seconds=float(seconds)) + age))
    return workers

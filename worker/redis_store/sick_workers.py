"""The workers that do not reach the gateway: each says so itself, and `sms doctor` shows them."""

import logging
from dataclasses import dataclass
from datetime import timedelta

from redis import Redis
from redis.exceptions import RedisError

from worker.redis_store.complaints import complain, complaints, name, withdraw

log = logging.getLogger(__name__)

SEEN_FOR = timedelta(minutes=1)
"""Who has said nothing of it for so long was ended, or is well."""

_SICK = "sms:sick"


@dataclass(frozen=True, slots=True)
class Sick:
    """A process that does not reach the gateway, as HOST/PID; why, and for how long, by whatever clock."""

    worker: str
    reason: str
    lasts: timedelta


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

"""What beat does: it has one worker tick, every second."""

import logging
from functools import cached_property
from typing import Any

from celery.beat import Scheduler
from redis import Redis
from redis.exceptions import RedisError

from worker.domain.lane import UPKEEP_QUEUE
from worker.redis_store import bells
from worker.redis_store.connect import open_redis

log = logging.getLogger(__name__)

TICK_SECONDS = 1.0
LONGEST_PAUSE_SECONDS = 15.0
"""From one try to the next while Redis is away: it doubles up to this."""
PATIENCE_SECONDS = 2


class Ticker(Scheduler):  # type: ignore[misc]  # it has no type hints
    """Celery's scheduler with one entry, and with no times to keep: no clock that is or was wrong can hold the tick up.

    A tick is rung for only where none waits, so whoever comes back after an hour finds one, and not thousands.
    """

    def __init__(self, app: Any, **kwargs: Any) -> None:
        self._pause = TICK_SECONDS
        super().__init__(app, **kwargs)

    @cached_property
    def _redis(self) -> Redis:
        # Not before the settings have been checked.
        return open_redis(self.app.conf.broker_write_url, patience_seconds=PATIENCE_SECONDS)

    def tick(self, *_: Any, **__: Any) -> float:
        """Rings for a tick; how many seconds to wait until the next."""
        try:
            bells.ring(self._redis, "sms.tick", queue=UPKEEP_QUEUE)
        except RedisError as why:
            self._pause = min(2 * self._pause, LONGEST_PAUSE_SECONDS)
            log.warning("Redis is away, no tick for %g seconds: %s", self._pause, why)
        else:
            if self._pause > TICK_SECONDS:
                log.warning("Redis is back, the ticks go on")
            self._pause = TICK_SECONDS
        return self._pause

    def setup_schedule(self) -> None:
        """Nothing: there is no entry but the tick."""

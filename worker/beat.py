"""Beat: it has one worker do a tick, every second."""

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
"""While Redis is away, the pause between two tries doubles up to this."""
PATIENCE_SECONDS = 2


class Ticker(Scheduler):  # type: ignore[misc]  # it has no type hints
    """Celery's scheduler with one entry and no times to keep, so no clock that is or was wrong can hold the tick up.

    It rings for a tick only where none waits. A worker that comes back after an hour finds one tick, not thousands.
    """

    def __init__(self, app: Any, **kwargs: Any) -> None:
        self._pause = TICK_SECONDS
        super().__init__(app, **kwargs)

    @cached_property
    def _redis(self) -> Redis:
        # Opened late: the settings have to be checked first.
        return open_redis(self.app.conf.broker_write_url, patience_seconds=PATIENCE_SECONDS)

    def tick(self, *_: Any, **__: Any) -> float:
        """Rings for a tick. Returns the seconds until the next one."""
        try:
            bells.ring(self._redis, "sms.tick", queue=UPKEEP_QUEUE)
        except RedisError as error:
            self._pause = min(2 * self._pause, LONGEST_PAUSE_SECONDS)
            log.warning("Redis is away, no tick for %g seconds: %s", self._pause, error)
        else:
            if self._pause > TICK_SECONDS:
                log.warning("Redis is back, the ticks go on")
            self._pause = TICK_SECONDS
        return self._pause

    def setup_schedule(self) -> None:
        """Does nothing: there is no entry but the tick."""

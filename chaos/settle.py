"""The wait at the end of a run: until nothing waits any more, or waiting is no use."""

import math
import time
from datetime import UTC, datetime

from redis import Redis
from sqlalchemy import Engine

from chaos.causes import causes
from chaos.checker import Waiting, still_waiting
from chaos.world import World

QUIET_LOOKS = 3
"""That many looks in a row must find that nothing waits: between two stores, a message is in neither for a moment."""


def settle(world: World, engine: Engine, seconds: float, *, stuck: float = math.inf) -> Waiting:
    """Waits until nothing waits, the time is over, or nothing has changed for `stuck` seconds.

    Logs why something still waits.
    """
    now = time.monotonic()
    deadline, changed_at = now + seconds, now
    quiet, shown_at, before = 0, 0.0, ""
    while True:
        world.supervise()
        waiting, now = still_waiting(world.stack, engine), time.monotonic()
        quiet = quiet + 1 if waiting.total == 0 else 0
        if str(waiting) != before:
            before, changed_at = str(waiting), now
        if quiet == QUIET_LOOKS or now > deadline or now > changed_at + stuck:
            world.log(f"settled; waiting: {waiting}")
            if waiting.total != 0:
                with Redis.from_url(world.stack.redis_url, socket_timeout=5) as redis:
                    for cause in causes(engine, redis, now=datetime.now(UTC)):
                        world.log(f"    {cause}")
            return waiting
        if now - shown_at > 5:
            world.log(f"settling; waiting: {waiting}")
            shown_at = now
        time.sleep(0.5)

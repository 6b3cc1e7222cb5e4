"""Tries again for as long as a store is away: the caller waits rather than fails.

A worker's threads that wait take no further tasks, and each task has a thread at most: so a worker stops taking tasks by
itself, and goes on by itself. What is tried again must be a conditional change: the answer to a commit may have been lost.
"""

import logging
from collections.abc import Callable
from typing import ParamSpec, TypeVar

log = logging.getLogger(__name__)

P = ParamSpec("P")
R = TypeVar("R")

PAUSES = (0.1, 0.2, 0.5, 1.0, 2.0)
"""Seconds between the first tries; the last pause is repeated."""


def retried(
    run: Callable[P, R],
    pause: Callable[[float], bool | None],
    *,
    is_away: Callable[[Exception], bool],
    store: str,
) -> Callable[P, R]:
    """Returns `run` so that it is called again for as long as its error is one of those that `is_away` knows.

    `pause` waits so many seconds. Where it returns True (as `Event.wait` does) it is time to give up, and the error is raised.
    `store` names what is away in the log.
    """

    def run_in_the_end(*args: P.args, **kwargs: P.kwargs) -> R:
        tries = 0
        while True:
            try:
                return run(*args, **kwargs)
            except Exception as error:
                if not is_away(error):
                    raise
                if not tries:
                    log.warning("%s is away, tasks wait for it: %s", store, error)
                if pause(PAUSES[min(tries, len(PAUSES) - 1)]):
                    raise
                tries += 1

    return run_in_the_end

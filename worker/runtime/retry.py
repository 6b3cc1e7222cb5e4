"""Tries again for as long as a store is away, so that the caller waits instead of failing.

A worker's threads that wait take no further tasks, and a task has one thread at most. So a worker stops taking tasks,
and goes on again, by itself. A retried function must make conditional changes, for the answer to a commit may be lost.
"""

import logging
from collections.abc import Callable
from typing import ParamSpec, TypeVar

log = logging.getLogger(__name__)

P = ParamSpec("P")
R = TypeVar("R")

PAUSES = (0.1, 0.2, 0.5, 1.0, 2.0)
"""Seconds between the first tries. The last pause repeats."""


def retried_while(
    run: Callable[P, R],
    pause: Callable[[float], bool | None],
    *,
    is_away: Callable[[Exception], bool],
    store: str,
) -> Callable[P, R]:
    """Returns a function that calls `run` again while `is_away` recognises its error. It raises any other error.

    `pause` waits for the given number of seconds. If it returns True (as a set `Event.wait` does), the error is raised
    instead. `store` is the name of the store in the log.
    """

    def run_until_done(*args: P.args, **kwargs: P.kwargs) -> R:
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

    return run_until_done

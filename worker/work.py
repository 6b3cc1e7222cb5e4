"""Work on a lane: accept what waits in its intake, claim what is due, and call.

A task of a lane is a doorbell, not a parcel: it says that there is something to do and carries nothing. Whoever answers it does
what there is, up to the calls that one task makes side by side; and rings again if there is more.
"""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager

from worker.ledger.turns import Claimed
from worker.pull import Pulled

PATIENCE_SECONDS = 0.5
"""How long a task waits for a token: no longer, for its thread is not there for an OTP meanwhile."""


def work(
    *,
    take_in: Callable[[], object],
    pull: Callable[[], Pulled],
    submit: Callable[[Sequence[Claimed]], object],
    ring: Callable[[], object],
    only_waiter: Callable[[], AbstractContextManager[bool]],
    pause: Callable[[float], bool],
) -> None:
    """Does what there is to do in a lane now.

    Where an account's rate is used up, one task waits for its tokens, in all workers together, and the others are free for other
    lanes: `only_waiter` says whether it is this one. `pause` waits so many seconds, and answers True where it is time to end.
    """
    take_in()
    pulled = pull()
    if pulled.wait and not pulled.claimed:
        with only_waiter() as mine:
            if not mine:
                return
            pulled = _wait(pulled, pull, pause)
    try:
        if pulled.more or pulled.wait:
            ring()
    finally:
        # Also where Redis is away: what is claimed and not called would be `unknown`. The tick rings once it is back.
        submit(pulled.claimed)


def _wait(pulled: Pulled, pull: Callable[[], Pulled], pause: Callable[[float], bool]) -> Pulled:
    left = PATIENCE_SECONDS
    while pulled.wait and not pulled.claimed and left > 0:
        if pause(min(pulled.wait, left)):
            break
        left -= pulled.wait
        pulled = pull()
    return pulled

"""What is `unknown` is settled where reports have told, and sent once more where its lane says so. Once a minute."""

import logging
from collections.abc import Callable, Collection
from datetime import datetime
from time import monotonic

from sqlalchemy import Connection, Engine

from worker.ledger.engine import in_batches
from worker.ledger.sending import evidence, unknown

log = logging.getLogger(__name__)


def settle(engine: Engine, *, probable: Collection[str] = (), now: datetime) -> None:
    """Submissions that are `unknown` and of which a report came were taken. Less often than the tick: it looks at many of them.

    In the lanes `probable`, those that were probably not taken are sent once more.
    """
    with engine.begin() as connection:
        settled = unknown.accept_reported(connection, now=now)
    if settled:
        log.info("%d submissions were unknown and are accepted, for they were reported", settled)
    if probable:
        resend_probable(engine, probable, now=now)


def resend_probable(
    engine: Engine, lanes: Collection[str], *, now: datetime, clock: Callable[[], float] = monotonic
) -> None:
    """What is unknown in these lanes, and was probably not taken, is sent once more, as much of it as there is time for.

    Page by page, and the next call goes on after the last of them. `clock` is in seconds.
    """
    resent = 0

    def resend_some(connection: Connection) -> int:
        nonlocal resent
        more, others_follow = evidence.resend_next(connection, lanes, now=now)
        resent += more
        return int(others_follow)

    in_batches(engine, resend_some, most=1, clock=clock)
    if resent:
        log.warning("%d submissions were unknown and probably not taken: they are sent once more", resent)

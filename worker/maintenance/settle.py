"""Settles `unknown` submissions that were reported, and resends them once where their lane says so. Once a minute."""

import logging
from collections.abc import Callable, Collection
from datetime import datetime
from time import monotonic

from sqlalchemy import Connection, Engine

from worker.ledger.engine import in_batches
from worker.ledger.sending import evidence, unknown

log = logging.getLogger(__name__)


def settle(engine: Engine, *, probable: Collection[str] = (), now: datetime) -> None:
    """Accepts `unknown` submissions of which a report came: the gateway took them. It looks at many, so it is done less
    often than the tick.

    In the lanes `probable`, submissions that were probably not taken are resent once.
    """
    with engine.begin() as connection:
        settled = unknown.accept_reported(connection, now=now)
    if settled:
        log.info("%d unknown submissions are accepted, because they were reported", settled)
    if probable:
        resend_probable(engine, probable, now=now)


def resend_probable(
    engine: Engine, lanes: Collection[str], *, now: datetime, clock: Callable[[], float] = monotonic
) -> None:
    """Resends once the unknown submissions of these lanes that were probably not taken, as many as there is time for.

    It goes page by page, and the next call goes on after the last one. `clock` is in seconds.
    """
    resent = 0

    def resend_some(connection: Connection) -> int:
        nonlocal resent
        count, others_follow = evidence.resend_next(connection, lanes, now=now)
        resent += count
        return int(others_follow)

    in_batches(engine, resend_some, most=1, clock=clock)
    if resent:
        log.warning("%d unknown submissions were probably not taken, and are resent once", resent)

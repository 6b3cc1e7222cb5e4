"""Wipes data that may not be kept any longer. Once a minute."""

import logging
from datetime import datetime, timedelta
from functools import partial

from sqlalchemy import Engine

from worker.ledger import retention
from worker.ledger.dialect import ROWS
from worker.ledger.engine import in_batches

log = logging.getLogger(__name__)

QUARANTINE_BYTES = 1024**3
"""The limit for all bodies of quarantined pushes. A push that cannot be read may have been sent to fill the disk."""


def forget(engine: Engine, *, codes: bool, keep: timedelta, now: datetime) -> None:
    """Wipes the texts of OTPs that went out (if `codes`), and bodies of pushes and refused messages that are older than
    `keep`.

    The oldest quarantined bodies are wiped too where all of them exceed QUARANTINE_BYTES. It is done less often than
    the tick, and wipes no more at a time than there is time for.
    """
    if codes:
        in_batches(engine, retention.wipe_codes, most=ROWS)
    in_batches(engine, partial(retention.wipe_bodies, before=now - keep), most=ROWS)
    in_batches(engine, partial(retention.forget_refused, before=now - keep), most=ROWS)
    too_many = partial(retention.wipe_quarantined, most_bytes=QUARANTINE_BYTES, before=now - timedelta(hours=1))
    wiped = in_batches(engine, too_many, most=ROWS)
    if wiped:
        log.warning(
            "the bodies of the %d oldest quarantined pushes are wiped: the others fill the limit of %d MiB",
            wiped, QUARANTINE_BYTES // 1024**2,
        )  # fmt: skip

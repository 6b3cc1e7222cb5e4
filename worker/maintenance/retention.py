"""What is kept no longer than it may be is wiped. Once a minute."""

import logging
from datetime import datetime, timedelta
from functools import partial

from sqlalchemy import Engine

from worker.ledger import retention
from worker.ledger.dialect import ROWS
from worker.ledger.engine import in_batches

log = logging.getLogger(__name__)

QUARANTINE_BYTES = 1024**3
"""Of the bodies of quarantined pushes: what could not be read may have been sent to fill the disk."""


def forget(engine: Engine, *, codes: bool, keep: timedelta, now: datetime) -> None:
    """Wipes the texts of OTPs that went out (if `codes`), and bodies of pushes and refused messages that are as old as `keep`.

    Quarantined bodies give way to newer ones, too. Less often than the tick, and no more at a time than there is time for.
    """
    if codes:
        in_batches(engine, retention.wipe_codes, most=ROWS)
    in_batches(engine, partial(retention.wipe_bodies, before=now - keep), most=ROWS)
    in_batches(engine, partial(retention.forget_refused, before=now - keep), most=ROWS)
    too_many = partial(retention.wipe_quarantined, most_bytes=QUARANTINE_BYTES, before=now - timedelta(hours=1))
    wiped = in_batches(engine, too_many, most=ROWS)
    if wiped:
        log.warning(
            "the bodies of the %d oldest quarantined pushes are kept no longer: those of the others have %d MiB",
            wiped, QUARANTINE_BYTES // 1024**2,
        )  # fmt: skip

"""Record: what became of calls is written down, many at a time, and none waits for a row that somebody else holds.

A row may be locked for long: by a `psql` that was left open, by a process that was stopped in the middle of a change. Its outcome is
tried again by itself, for what came of a call is known to this process alone; the outcomes beside it are written meanwhile.
"""

import logging
from collections.abc import Callable, Sequence
from datetime import datetime

from sqlalchemy import Engine

from worker.domain.submission import Recorded
from worker.ledger.errors import retried
from worker.ledger.sending import submissions
from worker.runtime.group_commit import GroupCommit
from worker.runtime.retry import PAUSES

log = logging.getLogger(__name__)


def recorder(
    engine: Engine, *, clock: Callable[[], datetime], pause: Callable[[float], None]
) -> Callable[[Recorded], None]:
    """Records an outcome, together with those of other threads; it returns when that is in the ledger. `pause` waits so many seconds."""

    def record_free(outcomes: Sequence[Recorded]) -> list[bool]:
        with engine.begin() as connection:
            free = submissions.lock_free(connection, [one.id for one in outcomes])
            ours = [one for one in outcomes if one.id in free]
            written = submissions.record(connection, ours, now=clock())
        if written < len(ours):
            log.warning("%d outcomes came after their submission had moved on", len(ours) - written)
        return [one.id in free for one in outcomes]

    together = GroupCommit(retried(record_free, pause))

    def record(outcome: Recorded) -> None:
        tries = 0
        while not together(outcome):
            if tries == len(PAUSES):
                log.warning(
                    "submission %d, attempt %d: its outcome %s waits to be recorded, for its row is locked: see who holds it in"
                    " pg_locks and pg_stat_activity",
                    outcome.id, outcome.attempt, outcome.state,
                )  # fmt: skip
            pause(PAUSES[min(tries, len(PAUSES) - 1)])
            tries += 1

    return record

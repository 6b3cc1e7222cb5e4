"""Record: writes the outcomes of calls, many at a time. None waits for a row that another transaction holds.

A row may be locked for long: by an open `psql`, or by a process that was stopped in the middle of a change. Only this
process knows the outcome, so it keeps trying to write that one alone. Meanwhile the other outcomes are written.
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
    """Returns the function that records an outcome, together with those of other threads. It returns once the outcome
    is in the ledger. `pause` waits for the given number of seconds.
    """

    def record_free(outcomes: Sequence[Recorded]) -> list[bool]:
        with engine.begin() as connection:
            free = submissions.lock_free(connection, [outcome.id for outcome in outcomes])
            ours = [outcome for outcome in outcomes if outcome.id in free]
            written = submissions.record(connection, ours, now=clock())
        if written < len(ours):
            log.warning("%d outcomes came after their submissions had moved on", len(ours) - written)
        return [outcome.id in free for outcome in outcomes]

    together = GroupCommit(retried(record_free, pause))

    def record(outcome: Recorded) -> None:
        tries = 0
        while not together(outcome):
            if tries == len(PAUSES):
                log.warning(
                    "submission %d, attempt %d: its outcome %s waits to be recorded, because its row is locked;"
                    " pg_locks and pg_stat_activity show by which session",
                    outcome.id, outcome.attempt, outcome.state,
                )  # fmt: skip
            pause(PAUSES[min(tries, len(PAUSES) - 1)])
            tries += 1

    return record

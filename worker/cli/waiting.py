"""Waits for what becomes of messages. The ledger is asked again and again, less often where it is slow to answer."""

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Engine

from worker.cli.errors import Failed
from worker.domain.status import LeftOut, Report, State
from worker.ledger.engine import reading
from worker.ledger.sending import message_queries

FAILED = frozenset(
    {Report.UNDELIVERED, State.REJECTED, State.EXPIRED, State.CANCELLED, State.UNKNOWN, LeftOut.SUPPRESSED}
)
FINAL = FAILED | {Report.DELIVERED, State.UNREPORTED}
POLL_SECONDS = 0.2


@dataclass(frozen=True, slots=True)
class Fate:
    """How many recipients have which status, and whether each has its last one."""

    counts: Counter[str]
    final: bool


def wait_for(engine: Engine, ids: Sequence[str], seconds: float) -> Fate:
    """Waits until every recipient of these messages has a final status, or until the seconds are over.

    Raises Failed if a message is refused.
    """
    deadline = time.monotonic() + seconds
    while True:
        asked = time.monotonic()
        fate = _look(engine, ids)
        answered = time.monotonic()
        if fate.final or answered >= deadline:
            return fate
        time.sleep(min(max(POLL_SECONDS, 4 * (answered - asked)), deadline - answered))


def _look(engine: Engine, ids: Sequence[str]) -> Fate:
    with reading(engine) as connection:
        by_message = message_queries.counts_by_id(connection, ids)
        refused = message_queries.find_refused(connection, ids) if len(by_message) < len(ids) else []
    if refused:
        raise Failed(f"a worker refused message {refused[0].id}: {'; '.join(refused[0].faults)}")
    counts: Counter[str] = Counter()
    for message_counts in by_message.values():
        counts.update(message_counts)
    return Fate(counts, final=len(by_message) == len(ids) and counts.keys() <= FINAL)

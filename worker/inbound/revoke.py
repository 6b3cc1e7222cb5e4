"""Revoke a push: what it said no longer counts. What other pushes said of the same does."""

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Engine

from worker.domain.push import StatusReport
from worker.gateway.push import Unreadable, parse_push
from worker.ledger.engine import reading
from worker.ledger.inbound import pushes
from worker.ledger.sending import optouts


@dataclass(frozen=True, slots=True)
class Revocation:
    """How much was taken back, how many opt-outs stay (for a later reply asks for them), and how many pushes are read
    again.
    """

    reports: int
    replies: int
    optouts: int
    optouts_kept: int
    read_again: int


def revoke_push(
    engine: Engine,
    push_id: int,
    *,
    words: Collection[str],
    by: str,
    now: datetime,
    checked: Callable[[], object] = lambda: None,
) -> Revocation | None:
    """Takes back the reports, replies and opt-outs of a push for good. Done again, it goes on where it was broken off.

    The ledger keeps only the first push as the source of a report. So each later push with the same report is read
    again. `words` opt out. `checked` is called for each later push. Returns None where there is no such push.
    """
    with reading(engine) as connection:
        raw = pushes.read(connection, push_id)
    if raw is None:
        return None
    with engine.begin() as connection:
        taken_back, replies = pushes.revoke(connection, push_id, by=by, now=now)
        undone = optouts.undo(connection, [push_id], words, now=now)
    # From here on a push that is processed keeps its own reports. The body of this push, where it is still there, also
    # has the reports that a revocation took back before it was broken off.
    again = list(_later_with(engine, push_id, taken_back | _reports(raw.body), checked))
    with engine.begin() as connection:
        pushes.replay(connection, push_ids=again, now=now)
    return Revocation(len(taken_back), replies, undone.back, undone.kept, len(again))


def _later_with(
    engine: Engine, push_id: int, reports: Collection[StatusReport], checked: Callable[[], object]
) -> Iterator[int]:
    """Yields the pushes with one of these reports that did not come before that push."""
    if not reports:
        return
    with reading(engine) as connection:
        for other, body in pushes.received_after(connection, push_id):
            if not _reports(body).isdisjoint(reports):
                yield other
            checked()


def _reports(body: bytes) -> set[StatusReport]:
    try:
        return {item.body for item in parse_push(body).items if isinstance(item.body, StatusReport)}
    except Unreadable:  # it has no report
        return set()

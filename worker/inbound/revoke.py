"""Revoke a push: what it said counts no more, and what others said of the same does."""

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
    """How much was taken back, how many opt-outs stay for a later reply says the same, and how many pushes are read again."""

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
    passed: Callable[[], object] = lambda: None,
) -> Revocation | None:
    """Takes back the reports, replies and opt-outs of a push for good. Done again, it goes on where it was broken off.

    Of the same report only the first push that said it is kept as its source. So each later one that said the same is read again.
    `words` opt out, `passed` is called for each of those that are looked at. None where there is no such push.
    """
    with reading(engine) as connection:
        raw = pushes.read(connection, push_id)
    if raw is None:
        return None
    with engine.begin() as connection:
        gone, replies = pushes.revoke(connection, push_id, by=by, now=now)
        undone = optouts.undo(connection, [push_id], words, now=now)
    # From here on, whoever is processed keeps its own reports.
    # Its body has what was taken back by one that was broken off; or it is kept no longer.
    again = list(_that_said(engine, push_id, gone | _reports(raw.body), passed))
    with engine.begin() as connection:
        pushes.replay(connection, push_ids=again, now=now)
    return Revocation(len(gone), replies, undone.back, undone.kept, len(again))


def _that_said(
    engine: Engine, push_id: int, said: Collection[StatusReport], passed: Callable[[], object]
) -> Iterator[int]:
    """The pushes with one of these reports, of those that did not come before that one."""
    if not said:
        return
    with reading(engine) as connection:
        for other, body in pushes.later(connection, push_id):
            if not _reports(body).isdisjoint(said):
                yield other
            passed()


def _reports(body: bytes) -> set[StatusReport]:
    try:
        return {item.body for item in parse_push(body).items if isinstance(item.body, StatusReport)}
    except Unreadable:  # it said nothing
        return set()

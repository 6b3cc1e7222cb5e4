"""Revoke a push: what it said counts no more, and what others said of the same does."""

from collections.abc import Callable, Collection
from datetime import datetime

from sqlalchemy import Engine

from worker.domain.push import StatusReport
from worker.gateway.push import Unreadable, parse_push
from worker.ledger import optouts, pushes
from worker.ledger.engine import reading
from worker.ledger.optouts import Undone
from worker.ledger.pushes import Revoked


def revoke_push(
    engine: Engine,
    no: int,
    *,
    words: Collection[str],
    by: str,
    now: datetime,
    passed: Callable[[], object] = lambda: None,
) -> tuple[Revoked, Undone, int] | None:
    """Takes back the reports, replies and opt-outs of a push for good; what, and how many pushes are read again for it.

    Of the same report only the first push that said it is kept as its source. So each later one that said the same is read again.
    `words` opt out, `passed` is called for each of those that are looked at. None where there is no such push, or it is revoked already.
    """
    with reading(engine) as connection:
        said = {(msg_id, mobile, status) for _, msg_id, mobile, status in pushes.reported_by(connection, no)}
    again, last = _that_said(engine, no, said, 0, passed)
    with engine.begin() as connection:
        revoked = pushes.revoke(connection, no, by=by, now=now)
        if revoked is None:
            return None
        undone = optouts.undo(connection, no, words)
        pushes.replay(connection, nos=again, now=now)
    # Those that were processed meanwhile.
    more, _ = _that_said(engine, no, said, last, passed)
    if more:
        with engine.begin() as connection:
            pushes.replay(connection, nos=more, now=now)
    return revoked, undone, len({*again, *more})


def _that_said(
    engine: Engine, no: int, said: Collection[tuple[int, str, str]], after: int, passed: Callable[[], object]
) -> tuple[list[int], int]:
    """The later pushes with one of these reports, and the last that was looked at."""
    found: list[int] = []
    last = after
    if not said:
        return found, last
    with reading(engine) as connection:
        for last, body in pushes.later(connection, no, after=after):
            try:
                items = parse_push(body).items
            except Unreadable:  # it said nothing
                items = ()
            reports = (item.body for item in items if isinstance(item.body, StatusReport))
            if any((report.msg_id, report.mobile, report.report) in said for report in reports):
                found.append(last)
            passed()
    return found, last

"""Evidence about unknown submissions: the calls around them, for the rule of `domain.evidence`.

Neighbours are found by msgId. MsgIds are given out in order, so calls with nearby msgIds were made around the same
time. The walk along the unique index of submissions is bounded, whatever the size of the ledger.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, Connection, Engine, and_, exists, func, select, update

from worker.domain.evidence import LEAST_SILENCE, Neighbour, neighbours, probably_not_taken
from worker.domain.status import State
from worker.ledger import tables as t
from worker.ledger.dialect import ROWS, chunks, inlined, insert_new
from worker.ledger.engine import reading
from worker.ledger.sending.submissions import EACH_REPORTED
from worker.ledger.sending.unknown import may_be_resent, resend_probable

WALKED = 500
"""The number of submissions that are looked at on each side of an unknown one. Those within a group of unknown ones
come on top.
"""
CLOSE = 2 * WALKED
"""Unknown submissions whose msgIds are no further apart form a group: their walks would meet."""
PAGE = 50
"""This many unknown submissions are judged before the connection is given back. Where they lie far apart, that takes a
tenth of a second.
"""
MARK = "probable"
_MARK = t.marks.c.name == MARK
UNREAD_SECONDS = 10
"""A push that waits this long may hold the missing report. Nothing is judged before it is read."""


@dataclass(frozen=True, slots=True)
class Silent:
    """An unknown submission without any report."""

    id: int
    account_id: int
    msg_id: int
    called_at: datetime


Call = tuple[datetime, int]
"""The time of a call that the gateway took, and the id of its submission."""


def find_probably_not_taken(engine: Engine, *, now: datetime) -> list[int]:
    """Returns the unknown submissions that were probably not taken, however many. It goes page by page, and gives the
    connection back after each.
    """
    submission_ids: list[int] = []
    after: int | None = 0
    while after is not None:
        with reading(engine) as connection:
            page, after = _page(connection, after, now)
            submission_ids += _judged(connection, page, now)
    return submission_ids


def reasons(connection: Connection, submission_ids: Iterable[int], *, now: datetime) -> dict[int, str]:
    """Returns the reason, by id, for those of these unknown submissions that were probably not taken."""
    reasons_by_id: dict[int, str] = {}
    for chunk in chunks(submission_ids, PAGE):
        reasons_by_id |= _judged(connection, chunk, now)
    return reasons_by_id


def resend_next(connection: Connection, lanes: Collection[str], *, now: datetime) -> tuple[int, bool]:
    """Holds those of the next unknown submissions to be resent that are of these lanes and were probably not taken.

    Returns how many, and whether others follow. A mark says where the next call goes on; after the last submission it
    begins anew.
    """
    after = connection.execute(select(t.marks.c.last_id).where(_MARK)).scalar()
    if after is None:
        connection.execute(insert_new(connection, t.marks).values(name=MARK, last_id=0))
    page, last = _page(connection, after or 0, now, t.submissions.c.lane.in_(lanes), *may_be_resent(now))
    connection.execute(update(t.marks).where(_MARK).values(last_id=last or 0))
    return resend_probable(connection, sorted(_judged(connection, page, now)), now=now), last is not None


def _page(
    connection: Connection, after: int, now: datetime, *conditions: ColumnElement[bool]
) -> tuple[list[int], int | None]:
    """Returns the unknown submissions to be judged next, after that id, and the last one that was looked at; None at
    the end.

    Both are bounded, however many there are and however few of them may be judged.
    """
    judged = and_(t.submissions.c.called_at <= now - LEAST_SILENCE, *conditions)
    unknown = t.submissions.c.state == inlined(State.UNKNOWN), t.submissions.c.id > after
    rows = connection.execute(
        select(t.submissions.c.id, judged).where(*unknown).order_by(t.submissions.c.id).limit(ROWS)
    ).all()
    page: list[int] = []
    for submission_id, is_judged in rows:
        if is_judged:
            page.append(submission_id)
            if len(page) == PAGE:
                return page, submission_id
    return page, rows[-1].id if len(rows) == ROWS else None


def _judged(connection: Connection, submission_ids: Sequence[int], now: datetime) -> dict[int, str]:
    """Returns the reason, by id, for those of at most PAGE submissions that are unknown, have no report, and were
    probably not taken.
    """
    if not submission_ids or _pushes_unread(connection, now):
        return {}
    silent = select(
        t.submissions.c.id, t.submissions.c.account_id, t.submissions.c.msg_id, t.submissions.c.called_at
    ).where(
        t.submissions.c.id.in_(submission_ids),
        t.submissions.c.state == inlined(State.UNKNOWN),
        t.submissions.c.called_at.is_not(None),
        ~EACH_REPORTED,
    )
    near: dict[Silent, Sequence[Call]] = {}
    for group in _groups([Silent(*row) for row in connection.execute(silent)]):
        taken = sorted(_taken_around(connection, group))
        times = [called_at for called_at, _ in taken]
        for submission in group:
            near[submission] = [taken[n] for side in neighbours(submission.called_at, times) for n in side]
    reported = _first_reports(connection, {submission_id for calls in near.values() for _, submission_id in calls})
    reasons_by_id = {
        submission.id: probably_not_taken(
            submission.called_at, [Neighbour(at, reported[submission_id]) for at, submission_id in calls], now=now
        )
        for submission, calls in near.items()
    }
    return {submission_id: reason for submission_id, reason in reasons_by_id.items() if reason}


def _pushes_unread(connection: Connection, now: datetime) -> bool:
    is_unread = t.pushes.c.due_at.is_not(None), t.pushes.c.received_at <= now - timedelta(seconds=UNREAD_SECONDS)
    return bool(connection.execute(select(exists().where(*is_unread))).scalar_one())


def _groups(unknown: Sequence[Silent]) -> Iterator[list[Silent]]:
    """Yields the submissions of an account whose msgIds are close together: they share their neighbours."""
    by_account: defaultdict[int, list[Silent]] = defaultdict(list)
    for submission in sorted(unknown, key=lambda submission: submission.msg_id):
        by_account[submission.account_id].append(submission)
    for submissions in by_account.values():
        group = submissions[:1]
        for submission in submissions[1:]:
            if submission.msg_id - group[-1].msg_id > CLOSE:
                yield group
                group = []
            group.append(submission)
        yield group


_FIRST_REPORT = (
    select(func.min(t.reports.c.received_at))
    .where(
        t.recipients.c.submission_id == t.submissions.c.id,
        t.reports.c.account_id == t.submissions.c.account_id,
        t.reports.c.msg_id == t.submissions.c.msg_id,
        t.reports.c.mobile == t.recipients.c.mobile,
        t.reports.c.push_id.is_not(None),
    )
    .scalar_subquery()
)


def _taken_around(connection: Connection, group: Sequence[Silent]) -> list[Call]:
    """Returns the calls around these that the gateway took."""
    msg_id = t.submissions.c.msg_id
    first, last = group[0].msg_id, group[-1].msg_id
    of_account = select(t.submissions.c.called_at, t.submissions.c.id, t.submissions.c.state).where(
        t.submissions.c.account_id == group[0].account_id
    )
    walks = (
        of_account.where(msg_id < first).order_by(msg_id.desc()).limit(WALKED),
        of_account.where(msg_id > first, msg_id < last),
        of_account.where(msg_id > last).order_by(msg_id).limit(WALKED),
    )
    calls: list[Call] = []
    for walk in walks if last > first else (walks[0], walks[2]):
        walked = walk.subquery()
        taken = walked.c.state.in_((State.ACCEPTED, State.UNREPORTED)), walked.c.called_at.is_not(None)
        calls += (
            (at, submission_id)
            for at, submission_id in connection.execute(select(walked.c.called_at, walked.c.id).where(*taken))
        )
    return calls


def _first_reports(connection: Connection, submission_ids: Iterable[int]) -> dict[int, datetime | None]:
    """Returns the time of the first report of each of these submissions, if one came."""
    return {
        submission_id: at
        for chunk in chunks(sorted(submission_ids))
        for submission_id, at in connection.execute(
            select(t.submissions.c.id, _FIRST_REPORT).where(t.submissions.c.id.in_(chunk))
        )
    }

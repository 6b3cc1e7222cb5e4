"""What the ledger knows of the calls around an unknown one, for the rule of `domain.evidence`.

Neighbours are found by msgId: msgIds are given out in order, so calls with nearby msgIds were made around the same time. That is a
bounded walk along the unique index of submissions, whatever the size of the ledger.
"""

from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, Connection, Select, exists, func, select

from worker.domain.evidence import Neighbour, probably_not_taken
from worker.domain.status import State
from worker.ledger.statements import literally
from worker.ledger.submissions import REPORTED
from worker.ledger.tables import pushes, recipients, reports, submissions

WALKED = 500
"""Submissions that are looked at on each side of an unknown one; those within a group of unknown ones come on top."""
CLOSE = 50
"""Unknown ones whose msgIds are no further apart are a group."""
UNREAD_SECONDS = 10
"""A push that waits this long may hold the report that is missed: nothing is judged before it is read."""


@dataclass(frozen=True, slots=True)
class Silent:
    """An unknown submission of which nothing was reported."""

    no: int
    account_id: int
    msg_id: int
    called_at: datetime


MOST = 10_000
"""So many are told at once."""
PAGE = 500


def _silent(after_no: int, *only: ColumnElement[bool]) -> Select[int, int, int, datetime]:
    """The first unknown submissions after that number of which nothing was reported."""
    return (
        select(submissions.c.no, submissions.c.account_id, submissions.c.msg_id, submissions.c.called_at)
        .where(
            submissions.c.state == literally(State.UNKNOWN),
            submissions.c.called_at.is_not(None),
            submissions.c.no > after_no,
            ~REPORTED,
            *only,
        )
        .order_by(submissions.c.no)
        .limit(PAGE)
    )


def probable(connection: Connection, nos: Collection[int] | None = None, *, now: datetime) -> dict[int, str]:
    """The unknown submissions that were probably not taken, of those with these numbers or of all; at most MOST of them.

    The reason is under the number of each.
    """
    return _probable(connection, () if nos is None else (submissions.c.no.in_(nos),), now)


def to_be_resent(connection: Connection, lanes: Collection[str], *, now: datetime) -> dict[int, str]:
    """Those of these lanes that were probably not taken, never sent again, and are still valid."""
    only = submissions.c.lane.in_(lanes), ~submissions.c.resent, submissions.c.expires_at > now
    return _probable(connection, only, now)


def _probable(connection: Connection, only: Sequence[ColumnElement[bool]], now: datetime) -> dict[int, str]:
    if _pushes_unread(connection, now):
        return {}
    found: dict[int, str] = {}
    last = 0
    while len(found) < MOST and (rows := connection.execute(_silent(last, *only)).all()):
        some = [Silent(*row) for row in rows]
        last = some[-1].no
        for group in _groups(some):
            neighbours = _neighbours(connection, group)
            for one in group:
                why = probably_not_taken(one.called_at, neighbours, now=now)
                if why:
                    found[one.no] = why
    return found


def _pushes_unread(connection: Connection, now: datetime) -> bool:
    waits = pushes.c.due_at.is_not(None), pushes.c.received_at <= now - timedelta(seconds=UNREAD_SECONDS)
    return bool(connection.execute(select(exists().where(*waits))).scalar_one())


def _groups(unknown: Sequence[Silent]) -> Iterator[list[Silent]]:
    """Those of an account whose msgIds are close together: they have their neighbours in common."""
    of_account: defaultdict[int, list[Silent]] = defaultdict(list)
    for one in sorted(unknown, key=lambda one: one.msg_id):
        of_account[one.account_id].append(one)
    for some in of_account.values():
        group = some[:1]
        for one in some[1:]:
            if one.msg_id - group[-1].msg_id > CLOSE:
                yield group
                group = []
            group.append(one)
        yield group


_FIRST_REPORT = (
    select(func.min(reports.c.received_at))
    .where(
        recipients.c.submission_no == submissions.c.no,
        reports.c.account_id == submissions.c.account_id,
        reports.c.msg_id == submissions.c.msg_id,
        reports.c.mobile == recipients.c.mobile,
        reports.c.push_no.is_not(None),
    )
    .scalar_subquery()
)


def _neighbours(connection: Connection, group: Sequence[Silent]) -> list[Neighbour]:
    """The calls that were taken around these."""
    msg_id = submissions.c.msg_id
    first, last = group[0].msg_id, group[-1].msg_id
    around = (
        ((msg_id < first,), msg_id.desc()),
        ((msg_id > first, msg_id < last), msg_id),
        ((msg_id > last,), msg_id),
    )
    return [one for where, order in around for one in _taken(connection, group[0].account_id, where, order)]


def _taken(
    connection: Connection, account_id: int, where: Sequence[ColumnElement[bool]], order: ColumnElement[int]
) -> list[Neighbour]:
    walked = (
        select(submissions.c.no)
        .where(submissions.c.account_id == account_id, *where)
        .order_by(order)
        .limit(WALKED if len(where) == 1 else None)
        .cte("walked")
    )
    taken = submissions.c.state.in_((State.ACCEPTED, State.UNREPORTED)), submissions.c.called_at.is_not(None)
    found = select(submissions.c.called_at, _FIRST_REPORT).where(submissions.c.no.in_(select(walked.c.no)), *taken)
    return [Neighbour(*row) for row in connection.execute(found)]

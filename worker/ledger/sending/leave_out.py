"""Opted-out recipients are left out of submissions that wait to be sent, when a worker claims them."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import BindParameter, ColumnElement, Connection, bindparam, case, func, null, select, update

from worker.domain.status import State, Suppression
from worker.ledger import tables as t


def _has_opted_out(account_id: ColumnElement[int]) -> ColumnElement[bool]:
    # The value is looked up by the primary key, for each recipient. PostgreSQL makes a join of EXISTS. Without
    # statistics, such as after an import, that join goes through all opt-outs for each submission.
    optout = select(t.optouts.c.mobile).where(
        t.optouts.c.account_id == account_id, t.optouts.c.mobile == t.recipients.c.mobile
    )
    return optout.correlate(t.submissions, t.recipients).scalar_subquery().is_not(None)


_IDS: BindParameter[Any] = bindparam("ids", expanding=True)
_WAITING = t.submissions.c.state.in_([State.HELD, State.QUEUED])
_RECIPIENTS = select(func.count()).where(t.recipients.c.submission_id == t.submissions.c.id).correlate(t.submissions)
_OPTED_OUT = _RECIPIENTS.where(_has_opted_out(t.submissions.c.account_id)).scalar_subquery()
# The rows are locked, so that nobody claims one while its recipients are removed. The gateway may have taken a resent
# submission: it keeps all its recipients.
_WITH_OPTOUTS = (
    select(t.submissions.c.id)
    .where(t.submissions.c.id.in_(_IDS), _WAITING, ~t.submissions.c.resent, _OPTED_OUT > 0)
    .with_for_update()
)
_ACCOUNT_ID = select(t.submissions.c.account_id).where(t.submissions.c.id == t.recipients.c.submission_id)
_LEAVE_OUT = (
    update(t.recipients)
    .where(
        t.recipients.c.submission_id.in_(_IDS), _has_opted_out(_ACCOUNT_ID.correlate(t.recipients).scalar_subquery())
    )
    .values(submission_id=null(), suppressed=Suppression.OPTOUT)
)
_REMAINING = _RECIPIENTS.scalar_subquery()
_NOW = bindparam("now", type_=t.submissions.c.updated_at.type)
_SHRINK = (
    update(t.submissions)
    .where(t.submissions.c.id.in_(_IDS), _WAITING)
    .values(
        mobiles=_REMAINING,
        state=case((_REMAINING == 0, State.CANCELLED), else_=t.submissions.c.state),
        due_at=case((_REMAINING == 0, null()), else_=t.submissions.c.due_at),
        updated_at=case((_REMAINING == 0, _NOW), else_=t.submissions.c.updated_at),
    )
)


def leave_out_opted_out(connection: Connection, submission_ids: Sequence[int], *, now: datetime) -> int:
    """Removes opted-out recipients from those of the submissions that wait to be sent. Returns how many.

    A submission without recipients is cancelled.
    """
    with_optouts = connection.execute(_WITH_OPTOUTS, {"ids": submission_ids}).scalars().all()
    if not with_optouts:
        return 0
    left_out = connection.execute(_LEAVE_OUT, {"ids": with_optouts}).rowcount
    connection.execute(_SHRINK, {"ids": with_optouts, "now": now})
    return left_out

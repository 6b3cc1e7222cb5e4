"""Submissions: made, recorded, given up. Every change is a conditional UPDATE on the state it leaves
(`domain.status.TRANSITIONS`): whoever changes no row has lost the race, and stops. How they are claimed is in `turns`."""

from collections.abc import Collection, Iterable, Sequence
from datetime import datetime

from sqlalchemy import (
    Boolean,
    Connection,
    and_,
    bindparam,
    case,
    exists,
    insert,
    literal,
    null,
    or_,
    select,
    update,
)

from worker.domain.outcome import BACKOFF_FIRST
from worker.domain.status import Report, State
from worker.domain.submission import NewSubmission, Recorded
from worker.ledger import tables as t
from worker.ledger.dialect import ROWS, add_rows, literally, oldest

TO_BE_SENT = t.submissions.c.state.in_([literally(State.HELD), literally(State.QUEUED)])
"""The condition of the partial indexes over what waits to be sent."""
# One of its recipients was reported: the gateway took the call. That a person calls it failed says nothing of the kind.
_ITS_REPORT = (
    t.recipients.c.submission_id == t.submissions.c.id,
    t.reports.c.account_id == t.submissions.c.account_id,
    t.reports.c.msg_id == t.submissions.c.msg_id,
    t.reports.c.mobile == t.recipients.c.mobile,
    or_(t.reports.c.push_id.is_not(None), t.reports.c.status == Report.DELIVERED),
)
REPORTED = exists().where(*_ITS_REPORT)
# The same, looked up for each row. Of EXISTS over many rows PostgreSQL makes a join: with poor statistics one of all recipients
# with all reports, which filled a disk.
EACH_REPORTED = (
    select(t.recipients.c.submission_id)
    .where(*_ITS_REPORT)
    .limit(1)
    .correlate(t.submissions)
    .scalar_subquery()
    .is_not(None)
)
# What is past its validity was never taken, unless it is one that was to be sent again.
OVER = case((t.submissions.c.resent, State.UNKNOWN), else_=State.EXPIRED)


_INSERT = insert(t.submissions)
_INSERT_RECIPIENTS = insert(t.recipients)


def add(connection: Connection, new: Sequence[NewSubmission], *, now: datetime) -> None:
    """Makes the submissions and their recipients."""
    added = add_rows(
        connection,
        _INSERT,
        {"attempt": 0, "resent": False, "called_off": False, "updated_at": now},
        ("account_id", "lane", "msg_id", "caller", "mobiles", "state", "due_at", "expires_at"),
        (
            (
                each.account_id,
                each.lane,
                each.msg_id,
                each.caller,
                len(each.recipients),
                each.state,
                each.due_at,
                each.expires_at,
            )
            for each in new
        ),
        returning=(t.submissions.c.account_id, t.submissions.c.msg_id, t.submissions.c.id),
    )
    ids = {(account_id, msg_id): submission_id for account_id, msg_id, submission_id in added}
    add_rows(
        connection,
        _INSERT_RECIPIENTS,
        {},
        ("message_id", "mobile", "submission_id"),
        (
            (message_id, mobile, ids[each.account_id, each.msg_id])
            for each in new
            for message_id, mobile in each.recipients
        ),
    )


def split_off(connection: Connection, submission_id: int, msg_id: int, *, now: datetime) -> int:
    """Makes one recipient of a submission that waits, and was never unknown, a submission of its own; its number.

    That of the submission itself where it has but one recipient, or may not be split: what may have been taken stays together.
    """
    many = t.submissions.c.id == submission_id, TO_BE_SENT, t.submissions.c.mobiles > 1, ~t.submissions.c.resent
    if connection.execute(update(t.submissions).where(*many).values(mobiles=t.submissions.c.mobiles - 1)).rowcount == 0:
        return submission_id
    same = ("account_id", "lane", "state", "caller", "due_at", "expires_at", "attempt", "resent", "failed")
    values = [t.submissions.c[name] for name in same]
    copied = select(*values, literal(msg_id), literal(1), literal(now, t.submissions.c.updated_at.type))
    added = insert(t.submissions).from_select(
        [*same, "msg_id", "mobiles", "updated_at"], copied.where(t.submissions.c.id == submission_id)
    )
    new: int = connection.execute(added.returning(t.submissions.c.id)).scalar_one()
    of_it = t.recipients.c.submission_id == submission_id
    first = select(t.recipients.c.message_id, t.recipients.c.mobile).where(of_it).limit(1)
    message_id, mobile = connection.execute(first.order_by(t.recipients.c.message_id, t.recipients.c.mobile)).one()
    one = of_it, t.recipients.c.message_id == message_id, t.recipients.c.mobile == mobile
    connection.execute(update(t.recipients).where(*one).values(submission_id=new))
    return new


_NEW_STATE = bindparam("new_state", type_=t.submissions.c.state.type)
_NEW_DUE_AT = bindparam("new_due_at", type_=t.submissions.c.due_at.type)
# Where the tick was first and gave the attempt up, what came of it still counts, in every state that may lead to another call.
_STILL_COUNTS = or_(
    and_(
        t.submissions.c.attempt == bindparam("of_attempt"),
        or_(
            t.submissions.c.state == State.SUBMITTING,
            and_(t.submissions.c.state == State.UNKNOWN, _NEW_STATE == State.REJECTED),
            # It waits for its second call: the first was refused, or not sent. A person may have seen to one that is unknown.
            and_(
                t.submissions.c.state == State.HELD,
                t.submissions.c.resent,
                or_(_NEW_STATE == State.REJECTED, _NEW_STATE == State.HELD),
            ),
        ),
    ),
    # Taken is taken, whatever has been tried since.
    and_(
        t.submissions.c.attempt >= bindparam("of_attempt"),
        # An IN cannot be sent for many rows at once.
        or_(*(t.submissions.c.state == state for state in (State.SUBMITTING, State.UNKNOWN, State.HELD))),
        _NEW_STATE == State.ACCEPTED,
    ),
)
# Given up it was marked as resent; that the call was not sent takes it back.
_RESENT = or_(
    and_(t.submissions.c.resent, t.submissions.c.state == State.SUBMITTING), bindparam("new_resent", type_=Boolean)
)
_NO_MORE = and_(t.submissions.c.called_off, _NEW_STATE == State.HELD)
_RECORD = (
    update(t.submissions)
    .where(t.submissions.c.id == bindparam("of_id"), _STILL_COUNTS)
    .values(
        {name: bindparam(f"new_{name}", type_=t.submissions.c[name].type) for name in ("result", "tips", "updated_at")}
        | {
            "state": case((and_(_NO_MORE, _RESENT), State.UNKNOWN), (_NO_MORE, State.CANCELLED), else_=_NEW_STATE),
            "due_at": case((_NO_MORE, null()), else_=_NEW_DUE_AT),
            "resent": _RESENT,
            "failed": t.submissions.c.failed + bindparam("more_failed", type_=t.submissions.c.failed.type),
        }
    )
)


_FREE = (
    select(t.submissions.c.id)
    .where(t.submissions.c.id.in_(bindparam("ids", expanding=True)))
    # As an UPDATE that leaves the key as it is: the foreign keys of rows that are added elsewhere do not stand in its way.
    .with_for_update(skip_locked=True, key_share=True)
)


def lock_free(connection: Connection, submission_ids: Collection[int]) -> set[int]:
    """Those of the submissions whose rows nobody else holds; they are this transaction's now. On SQLite it has the whole ledger."""
    if connection.dialect.name == "sqlite":
        return set(submission_ids)
    return set(connection.execute(_FREE, {"ids": list(submission_ids)}).scalars())


def record(connection: Connection, outcomes: Iterable[Recorded], *, now: datetime) -> int:
    """Writes what became of attempts; of how many it still counted: it was the last, or was taken.

    What would be held to be called again, and is of a campaign that was cancelled meanwhile, is cancelled; unknown, if it was to be
    sent again although it may have been taken.
    """
    rows = [
        {
            "of_id": one.id,
            "of_attempt": one.attempt,
            "new_state": one.state,
            "new_due_at": one.due_at,
            "new_result": one.result,
            "new_tips": one.tips,
            "new_resent": one.resent,
            "more_failed": int(one.failed),
            "new_updated_at": now,
        }
        for one in outcomes
    ]
    return connection.execute(_RECORD, rows).rowcount if rows else 0


def expire(connection: Connection, *, now: datetime, most: int = 10 * ROWS) -> int:
    """What waits to be sent and is past its validity waits no longer; how many."""
    late = oldest(t.submissions.c.id, t.submissions.c.expires_at, now, most, TO_BE_SENT)
    expired = late.values(state=OVER, due_at=null(), updated_at=now).returning(t.submissions.c.id)
    return len(connection.execute(expired).all())


def expire_leases(
    connection: Connection, *, now: datetime, resend: Collection[str] = (), most: int = ROWS
) -> list[tuple[int, State]]:
    """Submissions of which no outcome was recorded in time become `unknown`: the gateway may have taken them.

    Those of the lanes `resend` are held to be sent again, once and within their validity, unless they were called off. (Number, state now) of each.
    """
    at = now + BACKOFF_FIRST
    again = and_(
        t.submissions.c.lane.in_(resend),
        ~t.submissions.c.resent,
        ~t.submissions.c.called_off,
        t.submissions.c.expires_at > at,
    )
    leased = t.submissions.c.state == literally(State.SUBMITTING)
    lost = oldest(t.submissions.c.id, t.submissions.c.due_at, now, most, leased).values(
        state=case((again, State.HELD), else_=State.UNKNOWN),
        due_at=case((again, literal(at, t.submissions.c.due_at.type)), else_=null()),
        resent=or_(t.submissions.c.resent, again),
        tips="no outcome was recorded before its lease ran out: the worker was lost, or the ledger away",
        updated_at=now,
    )
    return [
        (submission_id, State(state))
        for submission_id, state in connection.execute(lost.returning(t.submissions.c.id, t.submissions.c.state))
    ]


def unreport(connection: Connection, *, before: datetime, now: datetime, most: int = ROWS) -> int:
    """What the gateway took before then waits for its reports no longer, as far as any are missing; how many."""
    accepted = t.submissions.c.state == literally(State.ACCEPTED)
    waited = oldest(t.submissions.c.id, t.submissions.c.updated_at, before, most, accepted)
    unreported = waited.values(state=State.UNREPORTED, updated_at=now).returning(t.submissions.c.id)
    return len(connection.execute(unreported).all())

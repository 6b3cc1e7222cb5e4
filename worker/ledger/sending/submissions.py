"""Submissions: added, recorded, given up.

Every change is a conditional UPDATE on the state that it leaves (`domain.status.TRANSITIONS`). A caller that changes no
row has lost the race, and stops. How submissions are claimed is in `claims`.
"""

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
from worker.ledger.dialect import ROWS, add_rows, inlined, oldest

TO_BE_SENT = t.submissions.c.state.in_([inlined(State.HELD), inlined(State.QUEUED)])
"""The condition of the partial indexes over the submissions that wait to be sent."""
# A recipient of the submission was reported: the gateway took the call. A person's word that it failed says nothing of
# the kind.
_ITS_REPORT = (
    t.recipients.c.submission_id == t.submissions.c.id,
    t.reports.c.account_id == t.submissions.c.account_id,
    t.reports.c.msg_id == t.submissions.c.msg_id,
    t.reports.c.mobile == t.recipients.c.mobile,
    or_(t.reports.c.push_id.is_not(None), t.reports.c.status == Report.DELIVERED),
)
REPORTED = exists().where(*_ITS_REPORT)
# The same, looked up for each row. PostgreSQL makes a join of EXISTS over many rows. With poor statistics it once
# joined all recipients with all reports, which filled a disk.
EACH_REPORTED = (
    select(t.recipients.c.submission_id)
    .where(*_ITS_REPORT)
    .limit(1)
    .correlate(t.submissions)
    .scalar_subquery()
    .is_not(None)
)
# A submission past its validity was never taken, unless it was to be resent.
FINAL_STATE = case((t.submissions.c.resent, State.UNKNOWN), else_=State.EXPIRED)


_INSERT = insert(t.submissions)
_INSERT_RECIPIENTS = insert(t.recipients)


def add(connection: Connection, submissions: Sequence[NewSubmission], *, now: datetime) -> None:
    """Adds the submissions and their recipients."""
    ids = _add_submissions(connection, submissions, now)
    recipients = (
        (message_id, mobile, ids[submission.account_id, submission.msg_id])
        for submission in submissions
        for message_id, mobile in submission.recipients
    )
    add_rows(connection, _INSERT_RECIPIENTS, {}, ("message_id", "mobile", "submission_id"), recipients)


def _add_submissions(
    connection: Connection, submissions: Iterable[NewSubmission], now: datetime
) -> dict[tuple[int, int], int]:
    """Returns the id of each new submission, by account id and msgId."""
    rows = (
        (
            submission.account_id,
            submission.lane,
            submission.msg_id,
            submission.caller,
            len(submission.recipients),
            submission.state,
            submission.due_at,
            submission.expires_at,
        )
        for submission in submissions
    )
    added = add_rows(
        connection,
        _INSERT,
        {"attempt": 0, "resent": False, "called_off": False, "updated_at": now},
        ("account_id", "lane", "msg_id", "caller", "mobiles", "state", "due_at", "expires_at"),
        rows,
        returning=(t.submissions.c.account_id, t.submissions.c.msg_id, t.submissions.c.id),
    )
    return {(account_id, msg_id): submission_id for account_id, msg_id, submission_id in added}


def split_off(connection: Connection, submission_id: int, msg_id: int, *, now: datetime) -> int:
    """Moves one recipient of a waiting submission to a submission of its own. Returns the id of that one.

    Returns `submission_id` itself where it has one recipient only, or was unknown before: what the gateway may have
    taken stays together.
    """
    may_be_split = t.submissions.c.id == submission_id, TO_BE_SENT, t.submissions.c.mobiles > 1, ~t.submissions.c.resent
    shrink = update(t.submissions).where(*may_be_split).values(mobiles=t.submissions.c.mobiles - 1)
    if connection.execute(shrink).rowcount == 0:
        return submission_id
    new_id = _copy(connection, submission_id, msg_id, now)
    query = select(t.recipients.c.message_id, t.recipients.c.mobile).where(
        t.recipients.c.submission_id == submission_id
    )
    first = query.order_by(t.recipients.c.message_id, t.recipients.c.mobile).limit(1)
    message_id, mobile = connection.execute(first).one()
    is_first = (
        t.recipients.c.submission_id == submission_id,
        t.recipients.c.message_id == message_id,
        t.recipients.c.mobile == mobile,
    )
    connection.execute(update(t.recipients).where(*is_first).values(submission_id=new_id))
    return new_id


def _copy(connection: Connection, submission_id: int, msg_id: int, now: datetime) -> int:
    """Adds a copy of the submission for one mobile, under that msgId. Returns its id."""
    same = ("account_id", "lane", "state", "caller", "due_at", "expires_at", "attempt", "resent", "failed")
    values = [t.submissions.c[name] for name in same]
    copied = select(*values, literal(msg_id), literal(1), literal(now, t.submissions.c.updated_at.type))
    statement = insert(t.submissions).from_select(
        [*same, "msg_id", "mobiles", "updated_at"], copied.where(t.submissions.c.id == submission_id)
    )
    new_id: int = connection.execute(statement.returning(t.submissions.c.id)).scalar_one()
    return new_id


_NEW_STATE = bindparam("new_state", type_=t.submissions.c.state.type)
_NEW_DUE_AT = bindparam("new_due_at", type_=t.submissions.c.due_at.type)
# Where the tick has given up the attempt already, its outcome still counts in every state that may lead to another
# call.
_STILL_COUNTS = or_(
    and_(
        t.submissions.c.attempt == bindparam("of_attempt"),
        or_(
            t.submissions.c.state == State.SUBMITTING,
            and_(t.submissions.c.state == State.UNKNOWN, _NEW_STATE == State.REJECTED),
            # It waits for its second call, and the first was refused or not sent. A person may have dealt with one that
            # is unknown.
            and_(
                t.submissions.c.state == State.HELD,
                t.submissions.c.resent,
                or_(_NEW_STATE == State.REJECTED, _NEW_STATE == State.HELD),
            ),
        ),
    ),
    # A call that the gateway took counts, whatever has been tried since.
    and_(
        t.submissions.c.attempt >= bindparam("of_attempt"),
        # An IN cannot be sent for many rows at once.
        or_(*(t.submissions.c.state == state for state in (State.SUBMITTING, State.UNKNOWN, State.HELD))),
        _NEW_STATE == State.ACCEPTED,
    ),
)
# A submission that was given up was marked as resent. A call that was not sent takes that back.
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
    # The lock of an UPDATE that leaves the key as it is: it does not block foreign keys of rows that others add.
    .with_for_update(skip_locked=True, key_share=True)
)


def lock_free(connection: Connection, submission_ids: Collection[int]) -> set[int]:
    """Locks those of the submissions whose rows no other transaction holds, and returns their ids. On SQLite, where a
    transaction has the whole ledger, that is all of them.
    """
    if connection.dialect.name == "sqlite":
        return set(submission_ids)
    return set(connection.execute(_FREE, {"ids": list(submission_ids)}).scalars())


def record(connection: Connection, outcomes: Iterable[Recorded], *, now: datetime) -> int:
    """Writes the outcomes of attempts. Returns how many still counted.

    An outcome counts if its attempt is the last one, or if the gateway took the call. A submission that would be held
    for another call, but whose campaign was cancelled meanwhile, is cancelled. It is unknown if it was to be resent
    although the gateway may have taken it.
    """
    rows = [
        {
            "of_id": outcome.id,
            "of_attempt": outcome.attempt,
            "new_state": outcome.state,
            "new_due_at": outcome.due_at,
            "new_result": outcome.result,
            "new_tips": outcome.tips,
            "new_resent": outcome.resent,
            "more_failed": int(outcome.failed),
            "new_updated_at": now,
        }
        for outcome in outcomes
    ]
    return connection.execute(_RECORD, rows).rowcount if rows else 0


def expire(connection: Connection, *, now: datetime, most: int = 10 * ROWS) -> int:
    """Ends the wait of submissions that wait to be sent and are past their validity. Returns how many."""
    statement = oldest(t.submissions.c.id, t.submissions.c.expires_at, now, most, TO_BE_SENT)
    expired = statement.values(state=FINAL_STATE, due_at=null(), updated_at=now).returning(t.submissions.c.id)
    return len(connection.execute(expired).all())


def expire_leases(
    connection: Connection, *, now: datetime, resend: Collection[str] = (), most: int = ROWS
) -> list[tuple[int, State]]:
    """Makes submissions `unknown` whose outcome was not recorded in time: the gateway may have taken them.

    Submissions of the lanes `resend` are held to be resent, once and within their validity, unless they were called
    off. Returns (id, new state) of each.
    """
    resend_at = now + BACKOFF_FIRST
    is_resent = and_(
        t.submissions.c.lane.in_(resend),
        ~t.submissions.c.resent,
        ~t.submissions.c.called_off,
        t.submissions.c.expires_at > resend_at,
    )
    is_submitting = t.submissions.c.state == inlined(State.SUBMITTING)
    statement = oldest(t.submissions.c.id, t.submissions.c.due_at, now, most, is_submitting).values(
        state=case((is_resent, State.HELD), else_=State.UNKNOWN),
        due_at=case((is_resent, literal(resend_at, t.submissions.c.due_at.type)), else_=null()),
        resent=or_(t.submissions.c.resent, is_resent),
        tips="no outcome was recorded before its lease ran out: the worker was lost, or the ledger away",
        updated_at=now,
    )
    return [
        (submission_id, State(state))
        for submission_id, state in connection.execute(statement.returning(t.submissions.c.id, t.submissions.c.state))
    ]


def unreport(connection: Connection, *, before: datetime, now: datetime, most: int = ROWS) -> int:
    """Ends the wait for reports of submissions that the gateway took before that time, as far as any are missing.
    Returns how many.
    """
    is_accepted = t.submissions.c.state == inlined(State.ACCEPTED)
    statement = oldest(t.submissions.c.id, t.submissions.c.updated_at, before, most, is_accepted)
    unreported = statement.values(state=State.UNREPORTED, updated_at=now).returning(t.submissions.c.id)
    return len(connection.execute(unreported).all())

"""Claims: the submissions of a lane that are due, by account and caller. A claim makes a submission one worker's to
call.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import (
    ColumnElement,
    Connection,
    Row,
    Select,
    Update,
    and_,
    bindparam,
    case,
    null,
    select,
    text,
    update,
)

from worker.domain.gate import PROBE_AGAIN
from worker.domain.lane import LANES
from worker.domain.status import State, sources
from worker.domain.submission import Claimed
from worker.ledger import tables as t
from worker.ledger.sending.gates import OPEN, open_accounts, probed_accounts, take_probe
from worker.ledger.sending.leave_out import leave_out_opted_out
from worker.ledger.sending.submissions import FINAL_STATE, REPORTED, TO_BE_SENT, split_off
from worker.ledger.tables import UtcTime

MOST_ATTEMPTS = 2**15 - 1
HALF = 2**14
"""The attempt is a smallint. After the highest value the count goes on at half of it. No outcome that is still to be
recorded is that many attempts old by then. And a pause that grows with the attempts has long stopped growing.
"""


@dataclass(frozen=True, slots=True)
class Queue:
    """The submissions of a lane that wait for one account and one caller. No queue stands behind another's."""

    account_id: int
    caller: str


@dataclass(frozen=True, slots=True)
class Due:
    """A submission that may be claimed. `mobiles` is their number, which the rate counts. It has been due since
    `due_at`.
    """

    id: int
    mobiles: int
    due_at: datetime


MOST_QUEUES = 200
"""At most this many queues of an account with something due are looked at for one claim. An app may name a caller for
each message.
"""

# Callers that must not be claimed now: runs of campaigns that are paused, or outside of their window.
_BLOCKED = """
SELECT 'campaign/' || runs.id FROM runs JOIN campaigns ON campaigns.id = runs.campaign_id
WHERE runs.state = 'running' AND NOT (
    campaigns.state = 'active' AND runs.opens_at <= :now AND (runs.closes_at IS NULL OR runs.closes_at > :now)
)
"""
_IS_DUE = f"CASE WHEN s.due_at <= :now AND s.caller NOT IN ({_BLOCKED}) THEN 1 ELSE 0 END"
_NEXT = """
    SELECT next.id FROM submissions next
    WHERE next.lane = :lane AND next.state IN ('held', 'queued')
        AND next.account_id = {account} AND next.caller {caller}
    ORDER BY next.caller, next.due_at LIMIT 1
"""
# The query goes by the index from the first row of one queue to the first of the next. So it reads one row of each,
# however much waits. It takes the callers of each account after :after first, and then those from its first caller up
# to that one.
_QUEUES = text(f"""
WITH RECURSIVE heads AS (
    SELECT s.account_id, s.caller, s.due_at, 0 AS lap, {_IS_DUE} AS due
    FROM accounts JOIN submissions s ON s.id = ({_NEXT.format(account="accounts.id", caller="> :after")})
    WHERE accounts.gate = :open
    UNION ALL
    SELECT s.account_id, s.caller, s.due_at, 1 AS lap, {_IS_DUE} AS due
    FROM accounts JOIN submissions s ON s.id = ({_NEXT.format(account="accounts.id", caller="<= :after")})
    WHERE accounts.gate = :open
    UNION ALL
    SELECT s.account_id, s.caller, s.due_at, heads.lap, heads.due + {_IS_DUE}
    FROM heads JOIN submissions s ON s.id = ({_NEXT.format(account="heads.account_id", caller="> heads.caller")})
    WHERE heads.due < :most AND (heads.lap = 0 OR s.caller <= :after)
)
SELECT account_id, caller FROM heads WHERE due_at <= :now AND caller NOT IN ({_BLOCKED}) ORDER BY account_id, lap, due
""").bindparams(bindparam("now", type_=UtcTime), open=OPEN, most=MOST_QUEUES)  # noqa: S608 - all of it is ours


def queues(connection: Connection, lane: str, *, now: datetime, after: str = "") -> list[Queue]:
    """Returns the queues of the lane in which something is due, behind open gates: at most MOST_QUEUES of each account.

    They begin with the caller that follows `after` in order of names, and go around.
    """
    by_account: defaultdict[int, list[Queue]] = defaultdict(list)
    for row in connection.execute(_QUEUES, {"lane": lane, "now": now, "after": after}):
        queue = Queue(*row)
        if len(by_account[queue.account_id]) < MOST_QUEUES:
            by_account[queue.account_id].append(queue)
    return [queue for its_queues in by_account.values() for queue in its_queues]


_MAY_BE_CLAIMED = text(f"submissions.caller NOT IN ({_BLOCKED})").bindparams(bindparam("now", type_=UtcTime))


def lock_due(
    connection: Connection, lane: str, queue: Queue, *, most: int, now: datetime, since: datetime | None = None
) -> list[Due]:
    """Locks and returns the first submissions that are due in a queue. No other transaction gets them until this one
    ends.

    With `since`, only those due at that time or later. Rows that were claimed before stay in the index while another
    session sees an older state of the ledger (a dump). Without `since`, each look would go past all of them.
    """
    rows = (
        select(t.submissions.c.id, t.submissions.c.mobiles, t.submissions.c.due_at)
        .where(
            t.submissions.c.lane == lane,
            t.submissions.c.account_id == queue.account_id,
            t.submissions.c.caller == queue.caller,
            TO_BE_SENT,
            t.submissions.c.due_at <= now,
            # The queue may have been found a moment ago, and its campaign paused since.
            _MAY_BE_CLAIMED.bindparams(now=now),
        )
        .order_by(t.submissions.c.due_at)
        .limit(most)
        .with_for_update(skip_locked=True)
    )
    if since is not None:
        rows = rows.where(t.submissions.c.due_at >= since)
    return [Due(*row) for row in connection.execute(rows)]


_NOW = bindparam("now", type_=t.submissions.c.updated_at.type)
_IS_EXPIRED = t.submissions.c.expires_at <= _NOW
# It was to be resent, and has been reported since: the gateway took it the first time.
_TAKEN = and_(t.submissions.c.resent, REPORTED)
_MUST_NOT_BE_CALLED = _TAKEN | _IS_EXPIRED


def _claiming(*conditions: ColumnElement[bool]) -> Update:
    return (
        update(t.submissions)
        .where(
            t.submissions.c.id.in_(bindparam("ids", expanding=True)),
            t.submissions.c.state.in_(sources(State.SUBMITTING)),
            t.submissions.c.due_at <= _NOW,
            *conditions,
        )
        .values(
            state=case((_TAKEN, State.ACCEPTED), (_IS_EXPIRED, FINAL_STATE), else_=State.SUBMITTING),
            due_at=case((_MUST_NOT_BE_CALLED, null()), else_=bindparam("until", type_=t.submissions.c.due_at.type)),
            attempt=t.submissions.c.attempt
            + case((_MUST_NOT_BE_CALLED, 0), (t.submissions.c.attempt == MOST_ATTEMPTS, -HALF), else_=1),
            updated_at=_NOW,
            called_at=case((_MUST_NOT_BE_CALLED, t.submissions.c.called_at), else_=_NOW),
        )
        .returning(
            t.submissions.c.id,
            t.submissions.c.state,
            t.submissions.c.account_id,
            t.submissions.c.msg_id,
            t.submissions.c.attempt,
            t.submissions.c.expires_at,
            t.submissions.c.lane,
            t.submissions.c.resent,
            t.submissions.c.failed,
        )
    )


# Built once: building such a statement anew costs more than running it.
_CLAIM = _claiming(t.submissions.c.account_id.in_(open_accounts))
_PROBE = _claiming()
_CALLS = (
    select(t.recipients.c.submission_id, t.recipients.c.mobile, t.messages.c.content)
    .join(t.messages, t.messages.c.id == t.recipients.c.message_id)
    .where(t.recipients.c.submission_id.in_(bindparam("ids", expanding=True)))
)


def claim(connection: Connection, submission_ids: Sequence[int], *, now: datetime, lease: timedelta) -> list[Claimed]:
    """Claims those of the submissions that are due behind an open gate, until `now + lease`.

    A submission past its validity expires instead. One that was to be resent and has been reported since is accepted:
    the gateway took it.
    """
    rows = connection.execute(_CLAIM, {"ids": submission_ids, "now": now, "until": now + lease}).all()
    return _claimed(connection, rows, now + lease, probe=False)


def claim_probe(
    connection: Connection, account_id: int, lanes: Iterable[str], *, msg_id: int, now: datetime, lease: timedelta
) -> list[Claimed]:
    """Claims a submission to be sent through the account's closed gate. Returns none where the gate may not be probed
    now.

    It is one that is due in the first of these lanes that has any. The probe has one recipient, because its outcome may
    never be known. One recipient of several gets a submission of its own, with that msgId. A submission whose
    recipients have all opted out is cancelled instead.
    """
    # Where the gateway hangs, the probe before this one may take as long as its lease.
    again = max(PROBE_AGAIN, lease)
    for lane in lanes:
        submission_ids = connection.execute(_due_of(account_id, lane, now)).scalars().all()
        while submission_ids and LANES[lane].heeds_optouts and leave_out_opted_out(connection, submission_ids, now=now):
            submission_ids = connection.execute(_due_of(account_id, lane, now)).scalars().all()
        if submission_ids and take_probe(connection, account_id, now=now, again=again):
            submission_ids = [split_off(connection, submission_id, msg_id, now=now) for submission_id in submission_ids]
            rows = connection.execute(_PROBE, {"ids": submission_ids, "now": now, "until": now + lease}).all()
            return _claimed(connection, rows, now + lease, probe=True)
    return []


def to_be_probed(connection: Connection, lanes: Callable[[int], Iterable[str]], *, now: datetime) -> list[int]:
    """Returns the accounts whose closed gate may be probed now, and that have something due for a probe. `lanes`
    returns the lanes in which an account may send.
    """
    return [
        account_id
        for account_id in connection.execute(probed_accounts(now)).scalars().all()
        if any(connection.execute(_due_of(account_id, lane, now)).first() for lane in lanes(account_id))
    ]


PROBES_COMPARED = 100
"""A probe is the cheapest of this many due submissions: one recipient, and not one that has to stay together with
others.
"""


def _due_of(account_id: int, lane: str, now: datetime) -> Select[int]:
    of_lane = t.submissions.c.lane == lane, t.submissions.c.account_id == account_id
    may_be_claimed = t.submissions.c.due_at <= now, _MAY_BE_CLAIMED.bindparams(now=now)
    due = select(t.submissions).where(*of_lane, TO_BE_SENT, *may_be_claimed).limit(PROBES_COMPARED).subquery()
    return select(due.c.id).order_by(due.c.resent, due.c.mobiles).limit(1)


def _claimed(
    connection: Connection, rows: Sequence[Row[tuple[object, ...]]], until: datetime, *, probe: bool
) -> list[Claimed]:
    ours = {row.id: row for row in rows if row.state == State.SUBMITTING}
    if not ours:
        return []
    contents: dict[int, str] = {}
    mobiles: dict[int, list[str]] = {submission_id: [] for submission_id in ours}
    for submission_id, mobile, content in connection.execute(_CALLS, {"ids": list(ours)}):
        mobiles[submission_id].append(mobile)
        contents[submission_id] = content
    return [
        Claimed(
            submission_id,
            row.account_id,
            row.msg_id,
            row.attempt,
            row.expires_at,
            until,
            row.lane,
            row.resent,
            contents[submission_id],
            tuple(mobiles[submission_id]),
            probe,
            row.failed,
        )
        for submission_id, row in ours.items()
    ]

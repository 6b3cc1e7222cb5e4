"""Submissions: made, claimed, recorded, released. Every change is a conditional UPDATE on the state it leaves
(`domain.status.TRANSITIONS`): whoever changes no row has lost the race, and stops."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import (
    Boolean,
    ColumnElement,
    Connection,
    Update,
    and_,
    bindparam,
    case,
    exists,
    literal,
    null,
    or_,
    select,
    update,
)

from worker.domain.gate import LOOK_AGAIN
from worker.domain.outcome import BACKOFF_FIRST
from worker.domain.status import Report, State, sources
from worker.ledger.gates import open_accounts, probed_accounts, take_probe
from worker.ledger.statements import ROWS, literally
from worker.ledger.tables import messages, recipients, reports, submissions

STRAY_AFTER = timedelta(seconds=30)
"""A submission that was queued this long ago has lost its task, or the queue is long: then it is released again."""


@dataclass(frozen=True, slots=True)
class Planned:
    """A submission to be made: one call, with the mobiles that it is for."""

    message_no: int
    account_id: int
    lane: str
    msg_id: int
    mobiles: Sequence[str]
    state: State
    due_at: datetime
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class Claimed:
    """A submission that this process alone may call now."""

    no: int
    account_id: int
    msg_id: int
    attempt: int
    expires_at: datetime
    until: datetime
    """When its lease runs out: a call must be over by then."""
    lane: str
    resent: bool
    content: str
    mobiles: tuple[str, ...]
    probe: bool = False
    """Whether it is sent through a closed gate, to see whether that can be opened again."""


@dataclass(frozen=True, slots=True)
class Recorded:
    """Where an attempt left its submission."""

    no: int
    attempt: int
    state: State
    due_at: datetime | None
    result: str | None
    tips: str | None
    resent: bool = False
    """Whether it goes to be sent again although the gateway may have taken it."""


def add(connection: Connection, planned: Sequence[Planned], *, now: datetime) -> list[int]:
    """Makes the submissions and their recipients; their numbers, in the order given."""
    rows = [
        {
            "account_id": one.account_id,
            "lane": one.lane,
            "msg_id": one.msg_id,
            "state": one.state,
            "due_at": one.due_at,
            "expires_at": one.expires_at,
            "attempt": 0,
            "resent": False,
            "updated_at": now,
        }
        for one in planned
    ]
    returned = submissions.c.account_id, submissions.c.msg_id, submissions.c.no
    made = connection.execute(submissions.insert().returning(*returned), rows)
    number = {(account_id, msg_id): no for account_id, msg_id, no in made}
    nos = [number[one.account_id, one.msg_id] for one in planned]
    connection.execute(
        recipients.insert(),
        [
            {"message_no": one.message_no, "mobile": mobile, "submission_no": no}
            for one, no in zip(planned, nos, strict=True)
            for mobile in one.mobiles
        ],
    )
    return nos


_NOW = bindparam("now", type_=submissions.c.updated_at.type)
_LATE = submissions.c.expires_at <= _NOW
# What is past its validity was never taken, unless it is one that was to be sent again.
_OVER = case((submissions.c.resent, State.UNKNOWN), else_=State.EXPIRED)
# One of its recipients was reported: the gateway took the call. That a person calls it failed says nothing of the kind.
REPORTED = exists().where(
    recipients.c.submission_no == submissions.c.no,
    reports.c.account_id == submissions.c.account_id,
    reports.c.msg_id == submissions.c.msg_id,
    reports.c.mobile == recipients.c.mobile,
    or_(reports.c.push_no.is_not(None), reports.c.status == Report.DELIVERED),
)
# It was to be sent again, and since then it was reported: it was taken the first time.
_TAKEN = and_(submissions.c.resent, REPORTED)
# Built once: to build such a statement anew costs more than to run it.
_TAKE = (
    update(submissions)
    .where(
        submissions.c.no.in_(bindparam("nos", expanding=True)),
        submissions.c.state.in_(sources(State.SUBMITTING)),
        ~_TAKEN,
    )
    .values(
        state=case((_LATE, _OVER), else_=State.SUBMITTING),
        due_at=case((_LATE, null()), else_=bindparam("until", type_=submissions.c.due_at.type)),
        attempt=submissions.c.attempt + case((_LATE, 0), else_=1),
        updated_at=_NOW,
    )
    .returning(
        submissions.c.no,
        submissions.c.state,
        submissions.c.account_id,
        submissions.c.msg_id,
        submissions.c.attempt,
        submissions.c.expires_at,
        submissions.c.lane,
        submissions.c.resent,
    )
)
_CLAIM = _TAKE.where(submissions.c.account_id.in_(open_accounts))
_CALLS = (
    select(recipients.c.submission_no, recipients.c.mobile, messages.c.content)
    .join(messages, messages.c.no == recipients.c.message_no)
    .where(recipients.c.submission_no.in_(bindparam("nos", expanding=True)))
)


def claim(connection: Connection, nos: Sequence[int], *, now: datetime, lease: timedelta) -> list[Claimed]:
    """Claims those of the submissions that are queued, until `now + lease`. What is past its validity expires instead.

    What was to be sent again and has been reported since is left to the next release. What meets a closed gate is held; but one
    of an account whose gate may be probed now is claimed all the same.
    """
    values = {"now": now, "until": now + lease}
    changed = list(connection.execute(_CLAIM, {"nos": nos, **values}))
    left = set(nos).difference(row.no for row in changed)
    probes = _probes(connection, left, now) if left else []
    if probes:
        changed += connection.execute(_TAKE, {"nos": probes, **values})
    claimed = {row.no: row for row in changed if row.state == State.SUBMITTING}
    if not claimed:
        return []
    content: dict[int, str] = {}
    mobiles: dict[int, list[str]] = {no: [] for no in claimed}
    for no, mobile, text in connection.execute(_CALLS, {"nos": list(claimed)}):
        mobiles[no].append(mobile)
        content[no] = text
    return [
        Claimed(
            no,
            row.account_id,
            row.msg_id,
            row.attempt,
            row.expires_at,
            now + lease,
            row.lane,
            row.resent,
            content[no],
            tuple(mobiles[no]),
            probe=no in probes,
        )
        for no, row in claimed.items()
    ]


def _probes(connection: Connection, nos: Collection[int], now: datetime) -> list[int]:
    """Of these submissions one for each closed gate that may be probed now; the others that met a closed gate are held."""
    met = select(submissions.c.no, submissions.c.account_id).where(
        submissions.c.no.in_(nos),
        submissions.c.state == State.QUEUED,
        submissions.c.account_id.not_in(open_accounts),
    )
    behind = {account_id: no for no, account_id in connection.execute(met)}
    if not behind:
        return []
    turns = take_probe(connection, behind, now=now, again=LOOK_AGAIN)
    probes = [no for account_id, no in behind.items() if account_id in turns]
    connection.execute(
        update(submissions)
        .where(
            submissions.c.no.in_(nos),
            submissions.c.no.not_in(probes),
            submissions.c.state == State.QUEUED,
            submissions.c.account_id.not_in(open_accounts),
        )
        .values(state=State.HELD, due_at=now + LOOK_AGAIN, updated_at=now)
    )
    return probes


_NEW_STATE = bindparam("new_state", type_=submissions.c.state.type)
_RECORD = (
    update(submissions)
    .where(
        submissions.c.no == bindparam("of_no"),
        submissions.c.attempt == bindparam("of_attempt"),
        or_(
            submissions.c.state == State.SUBMITTING,
            # The tick gave it up meanwhile: what the gateway said still counts. Only that it was not sent comes too late to have
            # it sent, for somebody may have seen to it.
            and_(
                submissions.c.state == State.UNKNOWN,
                or_(_NEW_STATE == State.ACCEPTED, _NEW_STATE == State.REJECTED),
            ),
        ),
    )
    .values(
        {
            name: bindparam(f"new_{name}", type_=submissions.c[name].type)
            for name in ("state", "due_at", "result", "tips", "updated_at")
        }
        | {"resent": or_(submissions.c.resent, bindparam("new_resent", type_=Boolean))}
    )
)


def record(connection: Connection, outcomes: Iterable[Recorded], *, now: datetime) -> int:
    """Writes what became of attempts; how many of them were still the last attempt of their submission."""
    rows = [
        {
            "of_no": one.no,
            "of_attempt": one.attempt,
            "new_state": one.state,
            "new_due_at": one.due_at,
            "new_result": one.result,
            "new_tips": one.tips,
            "new_resent": one.resent,
            "new_updated_at": now,
        }
        for one in outcomes
    ]
    return connection.execute(_RECORD, rows).rowcount


def release(connection: Connection, lane: str, *, now: datetime, most: int = ROWS) -> list[int]:
    """Queues what of a lane was held until now, and again what was queued but never claimed; the numbers to be published.

    What is past its validity expires instead; what was to be sent again and has been reported since is accepted, for it was taken.
    Beats that do this side by side share the rows between them.
    """
    late = submissions.c.expires_at <= now
    sendable = submissions.c.lane == lane, submissions.c.account_id.in_(open_accounts)
    due = _due((State.HELD, State.QUEUED), now, most, *sendable)
    released = connection.execute(
        due.values(
            state=case((_TAKEN, State.ACCEPTED), (late, _OVER), else_=State.QUEUED),
            due_at=case(
                (or_(late, _TAKEN), null()),
                else_=bindparam("until", now + STRAY_AFTER, type_=submissions.c.due_at.type),
            ),
            updated_at=now,
        ).returning(submissions.c.no, submissions.c.state)
    )
    return sorted(no for no, state in released if state == State.QUEUED)


def release_probes(connection: Connection, *, now: datetime) -> list[tuple[int, str]]:
    """Queues a submission for each account whose gate may be probed now; (number, lane) of each to be published.

    All else that is due behind a closed gate is held on, or expires.
    """
    probes: list[tuple[int, str]] = []
    for account_id in connection.execute(probed_accounts(now)).scalars().all():
        mine = submissions.c.account_id == account_id
        on_its_way = select(submissions.c.no).where(
            mine, submissions.c.state == State.QUEUED, submissions.c.due_at > now
        )
        if connection.execute(on_its_way.limit(1)).first() is None:
            first = (
                select(submissions.c.no)
                .where(mine, submissions.c.state == State.HELD, submissions.c.expires_at > now)
                .order_by(submissions.c.due_at)
                .limit(1)
                .with_for_update(skip_locked=True)
            )
            queued = update(submissions).where(submissions.c.no.in_(first), submissions.c.state == State.HELD)
            values = {"state": State.QUEUED, "due_at": now + STRAY_AFTER, "updated_at": now}
            released = connection.execute(queued.values(values).returning(submissions.c.no, submissions.c.lane))
            probes += [(no, lane) for no, lane in released]
    late = submissions.c.expires_at <= now
    waiting = _due((State.HELD, State.QUEUED), now, ROWS, submissions.c.account_id.not_in(open_accounts))
    connection.execute(
        waiting.values(
            state=case((late, _OVER), else_=State.HELD),
            due_at=case((late, null()), else_=bindparam("until", now + LOOK_AGAIN, type_=submissions.c.due_at.type)),
            updated_at=now,
        )
    )
    return probes


def expire_leases(
    connection: Connection, *, now: datetime, resend: Collection[str] = (), most: int = ROWS
) -> list[tuple[int, State]]:
    """Submissions of which no outcome was recorded in time become `unknown`: the gateway may have taken them.

    Those of the lanes `resend` are held to be sent again, once and within their validity. (Number, state now) of each.
    """
    at = now + BACKOFF_FIRST
    again = and_(submissions.c.lane.in_(resend), ~submissions.c.resent, submissions.c.expires_at > at)
    lost = _due((State.SUBMITTING,), now, most).values(
        state=case((again, State.HELD), else_=State.UNKNOWN),
        due_at=case((again, literal(at, submissions.c.due_at.type)), else_=null()),
        resent=or_(submissions.c.resent, again),
        tips="no outcome was recorded before its lease ran out: the worker was lost, or the ledger away",
        updated_at=now,
    )
    return [
        (no, State(state)) for no, state in connection.execute(lost.returning(submissions.c.no, submissions.c.state))
    ]


def unreport(connection: Connection, *, before: datetime, now: datetime, most: int = ROWS) -> int:
    """What the gateway took before then waits for its reports no longer, as far as any are missing; how many."""
    rows = (
        select(submissions.c.no)
        .where(submissions.c.state == literally(State.ACCEPTED), submissions.c.updated_at <= before)
        .order_by(submissions.c.updated_at)
        .limit(most)
        .with_for_update(skip_locked=True)
    )
    waited = update(submissions).where(submissions.c.no.in_(rows), submissions.c.state.in_(sources(State.UNREPORTED)))
    return connection.execute(waited.values(state=State.UNREPORTED, updated_at=now)).rowcount


def _due(states: Sequence[State], now: datetime, most: int, *only: ColumnElement[bool]) -> Update:
    rows = (
        select(submissions.c.no)
        .where(submissions.c.state.in_(states), submissions.c.due_at <= now, *only)
        .order_by(submissions.c.due_at)
        .limit(most)
        .with_for_update(skip_locked=True)
    )
    return update(submissions).where(submissions.c.no.in_(rows), submissions.c.state.in_(states))

"""Submissions: made, claimed, recorded, released. Every change is a conditional UPDATE on the state it leaves
(`domain.status.TRANSITIONS`): whoever changes no row has lost the race, and stops."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, Connection, Update, bindparam, case, null, select, update

from worker.domain.status import State, sources
from worker.ledger.statements import ROWS
from worker.ledger.tables import messages, recipients, submissions

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
    content: str
    mobiles: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Recorded:
    """Where an attempt left its submission."""

    no: int
    attempt: int
    state: State
    due_at: datetime | None
    result: str | None
    tips: str | None


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
# Built once: to build such a statement anew costs more than to run it.
_CLAIM = (
    update(submissions)
    .where(submissions.c.no.in_(bindparam("nos", expanding=True)), submissions.c.state.in_(sources(State.SUBMITTING)))
    .values(
        state=case((_LATE, State.EXPIRED), else_=State.SUBMITTING),
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
    )
)
_CALLS = (
    select(recipients.c.submission_no, recipients.c.mobile, messages.c.content)
    .join(messages, messages.c.no == recipients.c.message_no)
    .where(recipients.c.submission_no.in_(bindparam("nos", expanding=True)))
)


def claim(connection: Connection, nos: Sequence[int], *, now: datetime, lease: timedelta) -> list[Claimed]:
    """Claims those of the submissions that are queued, until `now + lease`. What is past its validity expires instead."""
    changed = connection.execute(_CLAIM, {"nos": nos, "now": now, "until": now + lease})
    claimed = {row.no: row for row in changed if row.state == State.SUBMITTING}
    if not claimed:
        return []
    content: dict[int, str] = {}
    mobiles: dict[int, list[str]] = {no: [] for no in claimed}
    for no, mobile, text in connection.execute(_CALLS, {"nos": list(claimed)}):
        mobiles[no].append(mobile)
        content[no] = text
    return [
        Claimed(no, row.account_id, row.msg_id, row.attempt, row.expires_at, content[no], tuple(mobiles[no]))
        for no, row in claimed.items()
    ]


_RECORD = (
    update(submissions)
    .where(
        submissions.c.no == bindparam("of_no"),
        submissions.c.attempt == bindparam("of_attempt"),
        submissions.c.state == State.SUBMITTING,
    )
    .values(
        {
            name: bindparam(f"new_{name}", type_=submissions.c[name].type)
            for name in ("state", "due_at", "result", "tips", "updated_at")
        }
    )
)


def record(connection: Connection, outcomes: Iterable[Recorded], *, now: datetime) -> int:
    """Writes what became of attempts; how many of them were still the current attempt of a claimed submission."""
    rows = [
        {
            "of_no": one.no,
            "of_attempt": one.attempt,
            "new_state": one.state,
            "new_due_at": one.due_at,
            "new_result": one.result,
            "new_tips": one.tips,
            "new_updated_at": now,
        }
        for one in outcomes
    ]
    return connection.execute(_RECORD, rows).rowcount


def release(connection: Connection, lane: str, *, now: datetime, most: int = ROWS) -> list[int]:
    """Queues what of a lane was held until now, and again what was queued but never claimed; the numbers to be published.

    What is past its validity expires instead. Beats that do this side by side share the rows between them.
    """
    late = submissions.c.expires_at <= now
    due = _due((State.HELD, State.QUEUED), now, most, submissions.c.lane == lane)
    released = connection.execute(
        due.values(
            state=case((late, State.EXPIRED), else_=State.QUEUED),
            due_at=case((late, null()), else_=bindparam("until", now + STRAY_AFTER, type_=submissions.c.due_at.type)),
            updated_at=now,
        ).returning(submissions.c.no, submissions.c.state)
    )
    return sorted(no for no, state in released if state == State.QUEUED)


def expire_leases(connection: Connection, *, now: datetime, most: int = ROWS) -> list[int]:
    """Submissions whose worker was lost in the call become `unknown`: the gateway may have taken them."""
    lost = _due((State.SUBMITTING,), now, most).values(
        state=State.UNKNOWN, due_at=None, tips="the worker was lost in the call", updated_at=now
    )
    return list(connection.execute(lost.returning(submissions.c.no)).scalars())


def _due(states: Sequence[State], now: datetime, most: int, *only: ColumnElement[bool]) -> Update:
    rows = (
        select(submissions.c.no)
        .where(submissions.c.state.in_(states), submissions.c.due_at <= now, *only)
        .order_by(submissions.c.due_at)
        .limit(most)
        .with_for_update(skip_locked=True)
    )
    return update(submissions).where(submissions.c.no.in_(rows), submissions.c.state.in_(states))

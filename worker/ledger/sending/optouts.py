"""Opt-outs: which mobiles want no marketing from an account, since when, who said so and in what words."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import Any

from sqlalchemy import (
    BindParameter,
    ColumnElement,
    Connection,
    Delete,
    Select,
    Update,
    bindparam,
    case,
    delete,
    func,
    null,
    select,
    tuple_,
    update,
)

from worker.domain.optout import is_optout
from worker.domain.status import State, Suppression
from worker.ledger import tables as t
from worker.ledger.dialect import ROWS, add_rows, among, insert_new, listed
from worker.ledger.inbound.pushes import which_repeat_none

REPLY = "reply"
"""Who said so, where somebody replied it."""


@dataclass(frozen=True, slots=True)
class OptOut:
    """A mobile that wants no marketing from the account of that name. `msg_id` is the reply's, where it was one, `push_id` its push."""

    account: str
    mobile: str
    since: datetime
    said_by: str
    why: str
    msg_id: str | None
    push_id: int | None = None


@dataclass(frozen=True, slots=True)
class Undone:
    """How many are back on marketing, and how many opted out again by a later reply (`kept`)."""

    back: int
    kept: int


def add(
    connection: Connection,
    account_id: int,
    said: Iterable[tuple[str, str, str | None]],
    *,
    since: datetime,
    said_by: str,
    push_id: int | None = None,
) -> None:
    """Keeps who opted out: (mobile, in what words, the reply's msgId or None) each. Who opted out before did so then.

    `push_id` is that of the push that brought it. Without one a person said so: then it stays though a push is undone that said it before.
    """
    first: dict[str, tuple[str, str, str | None]] = {}
    dialect = connection.dialect.name
    if push_id is not None:
        said = list(said)
        asked = {"of_account": account_id, "mobiles": [mobile for mobile, *_ in said]}
        by_a_person = set(connection.execute(_by_a_person(dialect), asked).scalars())
        said = [one for one in said if one[0] not in by_a_person]
    # Sorted, so that two who add the same mobiles wait for each other instead of deadlocking.
    for one in sorted(said):
        first.setdefault(one[0], one)
    add_rows(
        connection,
        insert_new(connection, t.optouts, earliest="since", also=("said_by", "why", "msg_id", "push_id")),
        {"account_id": account_id, "since": since, "said_by": said_by, "push_id": push_id},
        ("mobile", "why", "msg_id"),
        first.values(),
    )
    if push_id is None:
        connection.execute(_vouch(dialect), {"of_account": account_id, "mobiles": list(first)})


def _take_turns(connection: Connection, *, shared: bool) -> None:
    """Until the transaction ends, whoever undoes a push is alone: who finds that a reply repeats one of it would not see it go."""
    if connection.dialect.name == "postgresql":
        lock = func.pg_advisory_xact_lock_shared if shared else func.pg_advisory_xact_lock
        connection.execute(select(lock(func.hashtext("sms: optouts"))))


def new_replies(connection: Connection, submission_ids: Collection[int], *, received_at: datetime) -> list[int]:
    """Those of the replies of these numbers, which came at that time, by which somebody may opt out: they repeat none that counted."""
    _take_turns(connection, shared=True)
    return which_repeat_none(connection, submission_ids, received_at=received_at)


def sent_to(connection: Connection, account_id: int, mobiles: Collection[str]) -> set[str]:
    """Those of the mobiles that the account ever had a message for, by one statement."""
    asked = {"of_account": account_id, "mobiles": list(mobiles)}
    return set(connection.execute(_sent_to(connection.dialect.name), asked).scalars())


def undo(connection: Connection, push_ids: Collection[int], words: Collection[str], *, now: datetime) -> Undone:
    """Puts back on marketing who opted out by those pushes alone.

    A later reply that says so (one of `words`, folded) counts in their place, unless its push was undone too.
    """
    _take_turns(connection, shared=False)
    connection.execute(update(t.pushes).where(t.pushes.c.id.in_(push_ids)).values(undone_at=now))
    gone = connection.execute(_UNDO, {"of_pushes": list(push_ids)}).all()
    since = {(row.account_id, row.mobile): row.since for row in gone}
    meant: dict[tuple[int, str], Any] = {}
    for account_id in sorted({account_id for account_id, _ in since}):
        asked = {"of_account": account_id, "mobiles": [mobile for of, mobile in since if of == account_id]}
        for reply in connection.execute(_replies_of(connection.dialect.name), asked):
            key = account_id, reply.mobile
            if reply.received_at >= since[key] and is_optout(reply.content, words):
                meant.setdefault(key, reply)
    by_push: defaultdict[tuple[int, int, datetime], list[tuple[str, str, str | None]]] = defaultdict(list)
    for (account_id, mobile), reply in meant.items():
        by_push[account_id, reply.push_id, reply.received_at].append((mobile, reply.content, reply.msg_id))
    for (account_id, push_id, at), said in sorted(by_push.items()):
        add(connection, account_id, said, since=at, said_by=REPLY, push_id=push_id)
    return Undone(len(gone) - len(meant), len(meant))


def opted_out(connection: Connection, account_id: int, mobiles: Collection[str]) -> set[str]:
    """Those of the mobiles that opted out, however many there are, by one statement."""
    asked = {"of_account": account_id, "mobiles": list(mobiles)}
    return set(connection.execute(_of(connection.dialect.name), asked).scalars())


def remove(connection: Connection, account_id: int, mobiles: Collection[str]) -> None:
    """Puts the mobiles back on marketing."""
    connection.execute(_remove(connection.dialect.name), {"of_account": account_id, "mobiles": list(mobiles)})


# Built once each: to build such a statement anew costs as much as to run it.
_UNDO = (
    delete(t.optouts)
    .where(t.optouts.c.push_id.in_(bindparam("of_pushes", expanding=True)))
    .returning(t.optouts.c.account_id, t.optouts.c.mobile, t.optouts.c.since)
)


@cache
def _replies_of(dialect: str) -> Select[Any]:
    said = select(
        t.replies.c.mobile, t.replies.c.content, t.replies.c.msg_id, t.replies.c.push_id, t.replies.c.received_at
    )
    of_them = t.replies.c.account_id == bindparam("of_account"), among(dialect, t.replies.c.mobile, "mobiles")
    undone = (
        select(t.pushes.c.id).where(t.pushes.c.id == t.replies.c.push_id, t.pushes.c.undone_at.is_not(None)).exists()
    )
    return said.where(*of_them, ~undone).order_by(t.replies.c.received_at, t.replies.c.id)


@cache
def _by_a_person(dialect: str) -> Select[Any]:
    return select(t.optouts.c.mobile).where(*_these(dialect), t.optouts.c.push_id.is_(None))


@cache
def _vouch(dialect: str) -> Update:
    return update(t.optouts).where(*_these(dialect), t.optouts.c.push_id.is_not(None)).values(push_id=None)


@cache
def _sent_to(dialect: str) -> Select[Any]:
    # For each mobile the first that is found will do: somebody may have had thousands.
    wanted = listed(dialect, t.recipients.c.mobile, "mobiles")
    sent = select(t.recipients.c.mobile).join(t.submissions, t.submissions.c.id == t.recipients.c.submission_id)
    its = t.recipients.c.mobile == wanted.c.value, t.submissions.c.account_id == bindparam("of_account")
    return select(wanted.c.value).where(sent.where(*its).correlate(wanted).exists())


@cache
def _of(dialect: str) -> Select[Any]:
    return select(t.optouts.c.mobile).where(*_these(dialect))


@cache
def _remove(dialect: str) -> Delete:
    return delete(t.optouts).where(*_these(dialect))


def _these(dialect: str) -> tuple[ColumnElement[bool], ColumnElement[bool]]:
    return t.optouts.c.account_id == bindparam("of_account"), among(dialect, t.optouts.c.mobile, "mobiles")


def _has_opted_out(account_id: ColumnElement[int]) -> ColumnElement[bool]:
    # Of a recipient. A value is looked up by the primary key, for each of them. Of EXISTS PostgreSQL makes a join, and where it
    # has no statistics yet, such as after an import, that goes through all optouts for each submission.
    found = select(t.optouts.c.mobile).where(
        t.optouts.c.account_id == account_id, t.optouts.c.mobile == t.recipients.c.mobile
    )
    return found.correlate(t.submissions, t.recipients).scalar_subquery().is_not(None)


_IDS: BindParameter[Any] = bindparam("ids", expanding=True)
_WAITING = t.submissions.c.state.in_([State.HELD, State.QUEUED])
_OF_IT = select(func.count()).where(t.recipients.c.submission_id == t.submissions.c.id).correlate(t.submissions)
_OPTED_OUT = _OF_IT.where(_has_opted_out(t.submissions.c.account_id)).scalar_subquery()
# Locked, for nobody may claim it while its recipients are taken out. What is resent may have been taken: all of it stays.
_WITH_OPTOUTS = (
    select(t.submissions.c.id)
    .where(t.submissions.c.id.in_(_IDS), _WAITING, ~t.submissions.c.resent, _OPTED_OUT > 0)
    .with_for_update()
)
_ITS_ACCOUNT = select(t.submissions.c.account_id).where(t.submissions.c.id == t.recipients.c.submission_id)
_LEAVE_OUT = (
    update(t.recipients)
    .where(
        t.recipients.c.submission_id.in_(_IDS), _has_opted_out(_ITS_ACCOUNT.correlate(t.recipients).scalar_subquery())
    )
    .values(submission_id=null(), suppressed=Suppression.OPTOUT)
)
_LEFT = _OF_IT.scalar_subquery()
_NOW = bindparam("now", type_=t.submissions.c.updated_at.type)
_SHRINK = (
    update(t.submissions)
    .where(t.submissions.c.id.in_(_IDS), _WAITING)
    .values(
        mobiles=_LEFT,
        state=case((_LEFT == 0, State.CANCELLED), else_=t.submissions.c.state),
        due_at=case((_LEFT == 0, null()), else_=t.submissions.c.due_at),
        updated_at=case((_LEFT == 0, _NOW), else_=t.submissions.c.updated_at),
    )
)


def leave_out(connection: Connection, submission_ids: Sequence[int], *, now: datetime) -> int:
    """Takes who has opted out of those of the submissions that wait to be sent; how many recipients. Where none is left, it is cancelled."""
    found = connection.execute(_WITH_OPTOUTS, {"ids": submission_ids}).scalars().all()
    if not found:
        return 0
    left_out = connection.execute(_LEAVE_OUT, {"ids": found}).rowcount
    connection.execute(_SHRINK, {"ids": found, "now": now})
    return left_out


_OPTOUTS = select(
    t.accounts.c.name,
    t.optouts.c.mobile,
    t.optouts.c.since,
    t.optouts.c.said_by,
    t.optouts.c.why,
    t.optouts.c.msg_id,
    t.optouts.c.push_id,
).join(t.accounts, t.accounts.c.id == t.optouts.c.account_id)


def newest(
    connection: Connection,
    *,
    limit: int,
    account: str | None = None,
    mobile: str | None = None,
    since: datetime | None = None,
) -> list[OptOut]:
    """The newest opt-outs, the last first."""
    newest_first = _OPTOUTS.order_by(t.optouts.c.since.desc(), t.optouts.c.mobile.desc(), t.accounts.c.name).limit(
        limit
    )
    found = connection.execute(newest_first.where(*_narrowed(account, mobile, since)))
    return [OptOut(*row) for row in found]


def count(
    connection: Connection, *, account: str | None = None, mobile: str | None = None, since: datetime | None = None
) -> int:
    """How many have opted out."""
    query = select(func.count()).select_from(t.optouts).join(t.accounts, t.accounts.c.id == t.optouts.c.account_id)
    return connection.execute(query.where(*_narrowed(account, mobile, since))).scalar_one()


def by_replies(connection: Connection, *, since: datetime, until: datetime) -> int:
    """How many opted out by a reply in that time."""
    query = select(func.count()).where(
        t.optouts.c.since >= since, t.optouts.c.since < until, t.optouts.c.said_by == REPLY
    )
    return connection.execute(query).scalar_one()


def every(connection: Connection, *, account: str | None = None) -> Iterator[OptOut]:
    """All opt-outs, by account and mobile, however many: they are read in pages."""
    key = t.optouts.c.account_id, t.optouts.c.mobile
    pages = (
        _OPTOUTS.add_columns(t.optouts.c.account_id).where(*_narrowed(account, None, None)).order_by(*key).limit(ROWS)
    )
    page = connection.execute(pages).all()
    while page:
        yield from (OptOut(*row[:-1]) for row in page)
        page = connection.execute(pages.where(tuple_(*key) > (page[-1].account_id, page[-1].mobile))).all()


def _narrowed(account: str | None, mobile: str | None, since: datetime | None) -> Iterator[ColumnElement[bool]]:
    if account is not None:
        yield t.accounts.c.name == account
    if mobile is not None:
        yield t.optouts.c.mobile == mobile
    if since is not None:
        yield t.optouts.c.since >= since

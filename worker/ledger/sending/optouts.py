"""Opt-outs: the mobiles that want no marketing from an account, since when, by whom and in what words."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Delete,
    Select,
    Update,
    bindparam,
    delete,
    func,
    select,
    tuple_,
    update,
)

from worker.domain.optout import is_optout
from worker.ledger import tables as t
from worker.ledger.dialect import add_rows, bound_values, insert_new, is_among
from worker.ledger.inbound.pushes import find_first_replies
from worker.ledger.pages import paged

REPLY = "reply"
"""The value of `said_by` for an opt-out by reply."""


@dataclass(frozen=True, slots=True)
class OptOut:
    """A mobile that wants no marketing from the account of that name. `msg_id` and `push_id` are those of its reply, if
    it opted out by one.
    """

    account: str
    mobile: str
    since: datetime
    said_by: str
    why: str
    msg_id: str | None
    push_id: int | None = None


@dataclass(frozen=True, slots=True)
class Undone:
    """How many mobiles get marketing again (`back`), and how many opted out again by a later reply (`kept`)."""

    back: int
    kept: int


def add(
    connection: Connection,
    account_id: int,
    rows: Iterable[tuple[str, str, str | None]],
    *,
    since: datetime,
    set_by: str,
    push_id: int | None = None,
) -> None:
    """Adds opt-outs: each row is a mobile, its words, and the msgId of the reply or None. Of two the earlier one stays.

    `push_id` is the push that brought them. Without one, a person entered them. Such an opt-out stays when a push that
    said the same is undone.
    """
    dialect = connection.dialect.name
    if push_id is not None:
        rows = _not_by_a_person(connection, account_id, list(rows))
    # Sorted, so that two transactions that add the same mobiles wait for each other instead of deadlocking.
    by_mobile: dict[str, tuple[str, str, str | None]] = {}
    for row in sorted(rows):
        by_mobile.setdefault(row[0], row)
    add_rows(
        connection,
        insert_new(connection, t.optouts, earliest="since", also=("said_by", "why", "msg_id", "push_id")),
        {"account_id": account_id, "since": since, "said_by": set_by, "push_id": push_id},
        ("mobile", "why", "msg_id"),
        by_mobile.values(),
    )
    if push_id is None:
        connection.execute(_detach_from_pushes(dialect), {"of_account": account_id, "mobiles": list(by_mobile)})


def _not_by_a_person(
    connection: Connection, account_id: int, rows: Collection[tuple[str, str, str | None]]
) -> list[tuple[str, str, str | None]]:
    """Returns the rows without mobiles that a person has put on the list."""
    params = {"of_account": account_id, "mobiles": [mobile for mobile, *_ in rows]}
    mobiles = set(connection.execute(_by_a_person(connection.dialect.name), params).scalars())
    return [row for row in rows if row[0] not in mobiles]


def _lock_list(connection: Connection, *, shared: bool) -> None:
    """Keeps `undo` (not shared) apart from `find_new_replies` (shared) until the transaction ends. Otherwise a new
    reply could count as a repetition of one that is undone at that moment.
    """
    if connection.dialect.name == "postgresql":
        lock = func.pg_advisory_xact_lock_shared if shared else func.pg_advisory_xact_lock
        connection.execute(select(lock(func.hashtext("sms: optouts"))))


def find_new_replies(connection: Connection, reply_ids: Collection[int], *, received_at: datetime) -> list[int]:
    """Returns the ids of those replies that can opt out their senders: they repeat no reply that counted before. All of
    them came at `received_at`. Holds a lock until the transaction ends.
    """
    _lock_list(connection, shared=True)
    return find_first_replies(connection, reply_ids, received_at=received_at)


def sent_to(connection: Connection, account_id: int, mobiles: Collection[str]) -> set[str]:
    """Returns those of the mobiles that the account ever had a message for, by one statement."""
    params = {"of_account": account_id, "mobiles": list(mobiles)}
    return set(connection.execute(_sent_to(connection.dialect.name), params).scalars())


def undo(connection: Connection, push_ids: Collection[int], words: Collection[str], *, now: datetime) -> Undone:
    """Takes mobiles off the list that opted out by those pushes alone.

    A later reply that opts out (one of `words`, normalised) takes their place, unless its push was undone too.
    """
    _lock_list(connection, shared=False)
    connection.execute(update(t.pushes).where(t.pushes.c.id.in_(push_ids)).values(undone_at=now))
    deleted = connection.execute(_DELETE_BY_PUSH, {"of_pushes": list(push_ids)}).all()
    since = {(row.account_id, row.mobile): row.since for row in deleted}
    replies = _later_optouts(connection, since, words)
    by_push: defaultdict[tuple[int, int, datetime], list[tuple[str, str, str | None]]] = defaultdict(list)
    for (account_id, mobile), reply in replies.items():
        by_push[account_id, reply.push_id, reply.received_at].append((mobile, reply.content, reply.msg_id))
    for (account_id, push_id, received_at), rows in sorted(by_push.items()):
        add(connection, account_id, rows, since=received_at, set_by=REPLY, push_id=push_id)
    return Undone(len(deleted) - len(replies), len(replies))


def _later_optouts(
    connection: Connection, since: Mapping[tuple[int, str], datetime], words: Collection[str]
) -> dict[tuple[int, str], Any]:
    """Returns the first reply that opts out at or after `since`, by account id and mobile. Replies may be missing."""
    first: dict[tuple[int, str], Any] = {}
    for account_id in sorted({account_id for account_id, _ in since}):
        mobiles = [mobile for its_account_id, mobile in since if its_account_id == account_id]
        params = {"of_account": account_id, "mobiles": mobiles}
        for reply in connection.execute(_replies_of(connection.dialect.name), params):
            key = account_id, reply.mobile
            if reply.received_at >= since[key] and is_optout(reply.content, words):
                first.setdefault(key, reply)
    return first


def opted_out(connection: Connection, account_id: int, mobiles: Collection[str]) -> set[str]:
    """Returns those of the mobiles that opted out, however many there are, by one statement."""
    params = {"of_account": account_id, "mobiles": list(mobiles)}
    return set(connection.execute(_opted_out(connection.dialect.name), params).scalars())


def remove(connection: Connection, account_id: int, mobiles: Collection[str]) -> None:
    """Takes the mobiles off the list, so they get marketing again."""
    connection.execute(_remove(connection.dialect.name), {"of_account": account_id, "mobiles": list(mobiles)})


# Each statement is built once: building it anew costs as much as running it.
_DELETE_BY_PUSH = (
    delete(t.optouts)
    .where(t.optouts.c.push_id.in_(bindparam("of_pushes", expanding=True)))
    .returning(t.optouts.c.account_id, t.optouts.c.mobile, t.optouts.c.since)
)


@cache
def _replies_of(dialect: str) -> Select[Any]:
    replies = select(
        t.replies.c.mobile, t.replies.c.content, t.replies.c.msg_id, t.replies.c.push_id, t.replies.c.received_at
    )
    by_account = t.replies.c.account_id == bindparam("of_account"), is_among(dialect, t.replies.c.mobile, "mobiles")
    undone = (
        select(t.pushes.c.id).where(t.pushes.c.id == t.replies.c.push_id, t.pushes.c.undone_at.is_not(None)).exists()
    )
    return replies.where(*by_account, ~undone).order_by(t.replies.c.received_at, t.replies.c.id)


@cache
def _by_a_person(dialect: str) -> Select[Any]:
    return select(t.optouts.c.mobile).where(*_these(dialect), t.optouts.c.push_id.is_(None))


@cache
def _detach_from_pushes(dialect: str) -> Update:
    return update(t.optouts).where(*_these(dialect), t.optouts.c.push_id.is_not(None)).values(push_id=None)


@cache
def _sent_to(dialect: str) -> Select[Any]:
    # The first row of a mobile is enough: somebody may have had thousands of messages.
    wanted = bound_values(dialect, t.recipients.c.mobile, "mobiles")
    sent = select(t.recipients.c.mobile).join(t.submissions, t.submissions.c.id == t.recipients.c.submission_id)
    by_account = t.recipients.c.mobile == wanted.c.value, t.submissions.c.account_id == bindparam("of_account")
    return select(wanted.c.value).where(sent.where(*by_account).correlate(wanted).exists())


@cache
def _opted_out(dialect: str) -> Select[Any]:
    return select(t.optouts.c.mobile).where(*_these(dialect))


@cache
def _remove(dialect: str) -> Delete:
    return delete(t.optouts).where(*_these(dialect))


def _these(dialect: str) -> tuple[ColumnElement[bool], ColumnElement[bool]]:
    return t.optouts.c.account_id == bindparam("of_account"), is_among(dialect, t.optouts.c.mobile, "mobiles")


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
    """Returns the newest opt-outs, the last first."""
    newest_first = _OPTOUTS.order_by(t.optouts.c.since.desc(), t.optouts.c.mobile.desc(), t.accounts.c.name).limit(
        limit
    )
    rows = connection.execute(newest_first.where(*_narrowed(account, mobile, since)))
    return [OptOut(*row) for row in rows]


def count(
    connection: Connection, *, account: str | None = None, mobile: str | None = None, since: datetime | None = None
) -> int:
    """Returns how many have opted out."""
    query = select(func.count()).select_from(t.optouts).join(t.accounts, t.accounts.c.id == t.optouts.c.account_id)
    return connection.execute(query.where(*_narrowed(account, mobile, since))).scalar_one()


def count_by_reply(connection: Connection, *, since: datetime, until: datetime) -> int:
    """Returns how many opted out by a reply in that time. `until` is not part of it."""
    query = select(func.count()).where(
        t.optouts.c.since >= since, t.optouts.c.since < until, t.optouts.c.said_by == REPLY
    )
    return connection.execute(query).scalar_one()


def every(connection: Connection, *, account: str | None = None) -> Iterator[OptOut]:
    """Returns all opt-outs, by account and mobile. It reads them in pages, however many there are."""
    key = t.optouts.c.account_id, t.optouts.c.mobile
    query = _OPTOUTS.add_columns(t.optouts.c.account_id).where(*_narrowed(account, None, None)).order_by(*key)
    for page in paged(connection, query, lambda row: tuple_(*key) > (row.account_id, row.mobile)):
        yield from (OptOut(*row[:-1]) for row in page)


def _narrowed(account: str | None, mobile: str | None, since: datetime | None) -> Iterator[ColumnElement[bool]]:
    if account is not None:
        yield t.accounts.c.name == account
    if mobile is not None:
        yield t.optouts.c.mobile == mobile
    if since is not None:
        yield t.optouts.c.since >= since

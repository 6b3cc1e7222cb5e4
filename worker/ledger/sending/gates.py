"""The gates of the accounts. The gateway's answers or a person close them, and one submission at a time probes them."""

from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, Connection, Exists, Select, exists, select, update

from worker.domain.gate import Gate
from worker.domain.status import State
from worker.ledger import tables as t
from worker.ledger.dialect import inlined

OPEN, CLOSED = "open", "closed"

open_accounts = select(t.accounts.c.id).where(t.accounts.c.gate == OPEN)
"""Selects the ids of the accounts that may send."""


def probed_accounts(now: datetime) -> Select[int]:
    """Selects the ids of the accounts whose closed gate may be probed now."""
    return select(t.accounts.c.id).where(t.accounts.c.gate == CLOSED, t.accounts.c.gate_until <= now)


def gates(connection: Connection) -> list[Gate]:
    """Returns the gate of each account, by name."""
    rows = select(
        t.accounts.c.name,
        t.accounts.c.gate == OPEN,
        t.accounts.c.gate_reason,
        t.accounts.c.gate_since,
        t.accounts.c.gate_until,
        t.accounts.c.gate_by,
    ).order_by(t.accounts.c.name)
    return [Gate(name, bool(is_open), *rest) for name, is_open, *rest in connection.execute(rows)]


def account_name(connection: Connection, account_id: int) -> str:
    """Returns the name of the account of that id, as commands show it."""
    name: str = connection.execute(select(t.accounts.c.name).where(t.accounts.c.id == account_id)).scalar_one()
    return name


def opened_at(connection: Connection, account_id: int) -> datetime | None:
    """Returns the time since when the gate has been open; None where it is closed."""
    return connection.execute(_since(account_id, t.accounts.c.gate == OPEN)).scalar()


def closed_at(connection: Connection, account_id: int) -> datetime | None:
    """Returns the time since when an answer of the gateway has kept the gate closed; None where it is open, or a person
    closed it.
    """
    return connection.execute(_since(account_id, t.accounts.c.gate_until.is_not(None))).scalar()


def was_accepted_since(connection: Connection, account_id: int, since: datetime) -> bool:
    """Returns whether the gateway has accepted a call of the account since then."""
    return bool(connection.execute(select(_accepted_since(account_id, since))).scalar_one())


def _accepted_since(account_id: int, since: datetime) -> Exists:
    return exists().where(
        t.submissions.c.state == inlined(State.ACCEPTED),
        t.submissions.c.updated_at >= since,
        t.submissions.c.account_id == account_id,
    )


def close(
    connection: Connection,
    account_id: int,
    reason: str,
    *,
    now: datetime,
    until: datetime,
    unless_accepted_since: datetime | None = None,
) -> bool:
    """Closes the gate because of an answer of the gateway, until it is probed. Returns False where it is closed
    already.

    With `unless_accepted_since` it also stays open, and this returns False, where the gateway has accepted a call of
    the account since then.
    """
    conditions = [t.accounts.c.id == account_id, t.accounts.c.gate == OPEN]
    if unless_accepted_since is not None:
        conditions.append(~_accepted_since(account_id, unless_accepted_since))
    return _change(
        connection,
        *conditions,
        gate=CLOSED,
        gate_reason=reason,
        gate_since=now,
        gate_until=until,
        gate_by="gateway",
    )


def stay_closed(connection: Connection, account_id: int, reason: str, *, until: datetime) -> None:
    """Keeps a gate closed until the next probe, after a probe failed. Does nothing where a person opened or closed it
    meanwhile.
    """
    _change(
        connection,
        t.accounts.c.id == account_id,
        t.accounts.c.gate_until.is_not(None),
        gate_reason=reason,
        gate_until=until,
    )


def open_again(connection: Connection, account_id: int, *, now: datetime) -> None:
    """Opens the gate after a probe went through. Does nothing where a person closed it."""
    _change(connection, t.accounts.c.id == account_id, t.accounts.c.gate_until.is_not(None), **_opened(now, "gateway"))


def pause(connection: Connection, name: str, *, reason: str, by: str, now: datetime) -> bool:
    """Closes the gate until a person opens it. Returns False where there is no such account."""
    closed = {"gate": CLOSED, "gate_reason": reason, "gate_since": now, "gate_until": None, "gate_by": by}
    return _change(connection, t.accounts.c.name == name, **closed)


def resume(connection: Connection, name: str, *, by: str, now: datetime) -> bool:
    """Opens the gate, whoever closed it. Returns False where there is no such account."""
    return _change(connection, t.accounts.c.name == name, **_opened(now, by))


def take_probe(connection: Connection, account_id: int, *, now: datetime, again: timedelta) -> bool:
    """Returns whether the caller may probe the account's closed gate now. The next probe may follow after `again`."""
    conditions = t.accounts.c.id == account_id, t.accounts.c.id.in_(probed_accounts(now))
    return _change(connection, *conditions, gate_until=now + again)


def note_skew(connection: Connection, account_id: int, skew: timedelta) -> None:
    """Notes how far the gateway's clock is ahead of ours."""
    _change(connection, t.accounts.c.id == account_id, skew_ms=round(skew.total_seconds() * 1000))


def skews(connection: Connection) -> dict[str, timedelta]:
    """Returns how far the gateway's clock was ahead of ours when it was last noted, by account name."""
    rows = (
        select(t.accounts.c.name, t.accounts.c.skew_ms)
        .where(t.accounts.c.skew_ms.is_not(None))
        .order_by(t.accounts.c.name)
    )
    return {name: timedelta(milliseconds=skew) for name, skew in connection.execute(rows)}


def _since(account_id: int, *conditions: ColumnElement[bool]) -> Select[datetime]:
    return select(t.accounts.c.gate_since).where(t.accounts.c.id == account_id, *conditions)


def _opened(now: datetime, by: str) -> dict[str, object]:
    return {"gate": OPEN, "gate_reason": None, "gate_since": now, "gate_until": None, "gate_by": by}


def _change(connection: Connection, *where: ColumnElement[bool], **values: object) -> bool:
    return connection.execute(update(t.accounts).where(*where).values(values)).rowcount > 0

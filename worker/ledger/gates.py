"""The gates of the accounts: closed by what the gateway says or by a person, probed by one submission at a time."""

from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, Connection, Select, case, literal, or_, select, update

from worker.domain.gate import Gate
from worker.ledger.tables import accounts

OPEN, CLOSED = "open", "closed"

open_accounts = select(accounts.c.id).where(accounts.c.gate == OPEN)
"""The numbers of the accounts that may send."""


def probed_accounts(now: datetime) -> Select[int]:
    """The numbers of the accounts whose closed gate may be probed now."""
    return select(accounts.c.id).where(accounts.c.gate == CLOSED, accounts.c.gate_until <= now)


def gates(connection: Connection) -> list[Gate]:
    """The gate of each account, by name."""
    rows = select(
        accounts.c.name,
        accounts.c.gate == OPEN,
        accounts.c.gate_reason,
        accounts.c.gate_since,
        accounts.c.gate_until,
        accounts.c.gate_by,
    ).order_by(accounts.c.name)
    return [Gate(name, bool(is_open), *rest) for name, is_open, *rest in connection.execute(rows)]


def close(connection: Connection, account_id: int, reason: str, *, now: datetime, until: datetime) -> None:
    """Closes the gate because of what the gateway said, until it is probed; one that a person closed stays theirs."""
    _change(
        connection,
        accounts.c.id == account_id,
        or_(accounts.c.gate == OPEN, accounts.c.gate_until.is_not(None)),
        gate=CLOSED,
        gate_reason=reason,
        gate_since=case(
            (accounts.c.gate == OPEN, literal(now, accounts.c.gate_since.type)), else_=accounts.c.gate_since
        ),
        gate_until=until,
        gate_by="gateway",
    )


def open_again(connection: Connection, account_id: int, *, now: datetime) -> None:
    """Opens the gate after a probe went through; not one that a person closed."""
    _change(connection, accounts.c.id == account_id, accounts.c.gate_until.is_not(None), **_opened(now, "gateway"))


def pause(connection: Connection, name: str, *, reason: str, by: str, now: datetime) -> bool:
    """Closes the gate until a person opens it; False where there is no such account."""
    closed = {"gate": CLOSED, "gate_reason": reason, "gate_since": now, "gate_until": None, "gate_by": by}
    return _change(connection, accounts.c.name == name, **closed)


def resume(connection: Connection, name: str, *, by: str, now: datetime) -> bool:
    """Opens the gate, whoever closed it; False where there is no such account."""
    return _change(connection, accounts.c.name == name, **_opened(now, by))


def take_probe(connection: Connection, account_id: int, *, now: datetime, again: timedelta) -> bool:
    """Whether whoever asks is the one who may probe the account's closed gate now; the next may after `again`."""
    may = accounts.c.id == account_id, accounts.c.id.in_(probed_accounts(now))
    return _change(connection, *may, gate_until=now + again)


def note_skew(connection: Connection, account_id: int, skew: timedelta) -> None:
    """Notes how far the gateway's clock is ahead of ours."""
    _change(connection, accounts.c.id == account_id, skew_ms=round(skew.total_seconds() * 1000))


def skews(connection: Connection) -> dict[str, timedelta]:
    """How far the gateway's clock was ahead of ours when it was last noted, by account."""
    rows = select(accounts.c.name, accounts.c.skew_ms).where(accounts.c.skew_ms.is_not(None)).order_by(accounts.c.name)
    return {name: timedelta(milliseconds=skew) for name, skew in connection.execute(rows)}


def _opened(now: datetime, by: str) -> dict[str, object]:
    return {"gate": OPEN, "gate_reason": None, "gate_since": now, "gate_until": None, "gate_by": by}


def _change(connection: Connection, *where: ColumnElement[bool], **values: object) -> bool:
    return connection.execute(update(accounts).where(*where).values(values)).rowcount > 0

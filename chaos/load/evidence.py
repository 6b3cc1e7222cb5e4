"""The evidence at the end: rows of the ledger, items in Redis, and the gateway's log.

The system under test does not use these statements.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from redis import Redis
from sqlalchemy import Engine, text

from chaos.load.trouble import Spell
from chaos.load.watch import Look
from worker.devstack.stack import Stack
from worker.domain.lane import LANES


@dataclass(frozen=True)
class Rows:
    """What the ledger has, and what is still in the intake."""

    messages: Collection[str]
    refused: Collection[str]
    in_intake: Collection[str]
    states: Mapping[str, int]
    """Submissions in each state."""
    unknown: Mapping[int, int]
    """The number of mobiles of each unknown call, by msgId."""
    said_taken: Collection[int]
    """The msgIds of the calls that the gateway took, according to the ledger."""
    members: int
    """Recipients of the campaign."""
    reports: int
    foreign_reports: int
    """Reports of the extra pushes."""
    unread_reports: int
    """Reports in pushes that are kept and not processed yet. They are not lost."""


@dataclass(frozen=True)
class Evidence:
    """Everything that the checker reads. Times are Unix seconds."""

    accepted: Mapping[str, str]
    """The mobile of each message that `send` returned, by its id."""
    otps: Mapping[str, float]
    """The time just before the `send` of each OTP, by its mobile."""
    poison: Mapping[str, str]
    """A description of each poison, by its id."""
    members: int
    """Members of the campaign; 0 if it was not started."""
    pushed: int
    """Reports of the extra pushes that were acknowledged."""
    spells: Sequence[Spell]
    looks: Sequence[Look]
    calls: Sequence[Mapping[str, Any]]
    """The gateway's own log."""
    rows: Rows
    ended: Sequence[str]
    """The processes that ended by themselves, without the sick worker."""
    waiting: Mapping[str, int] | None
    """How much of each kind still waits; None if that could not be read."""


def rows_of(stack: Stack, engine: Engine, *, foreign: str, campaign: str) -> Rows:
    """Reads the rows.

    The mobiles of the extra pushes begin with `foreign`, those of the campaign's members with `campaign`.
    """
    with Redis.from_url(stack.redis_url, socket_timeout=30) as redis:
        names = [name for lane in LANES for name in redis.hkeys(f"sms:intake:{lane}")]
    with engine.connect() as connection:

        def column(statement: str, **values: Any) -> list[Any]:
            return list(connection.execute(text(statement), values).scalars())

        def pairs(statement: str) -> dict[Any, int]:
            return {name: int(count) for name, count in connection.execute(text(statement))}

        foreign_reports = column("SELECT count(*) FROM reports WHERE mobile LIKE :like", like=f"{foreign}%")[0]
        return Rows(
            messages=set(column("SELECT public_id FROM messages")),
            refused=set(column("SELECT id FROM refused")),
            in_intake={name.decode(errors="replace") for name in names},
            states=pairs("SELECT state, count(*) FROM submissions GROUP BY state"),
            unknown=pairs("SELECT msg_id, mobiles FROM submissions WHERE state = 'unknown'"),
            said_taken=set(column("SELECT msg_id FROM submissions WHERE state IN ('accepted', 'unreported')")),
            members=column("SELECT count(*) FROM recipients WHERE mobile LIKE :like", like=f"{campaign}%")[0],
            reports=column("SELECT count(*) FROM reports")[0] - foreign_reports,
            foreign_reports=foreign_reports,
            unread_reports=sum(
                bytes(body).count(b"<pushStatusForm>")
                for body in column("SELECT body FROM pushes WHERE state = 'received'")
            ),
        )

"""What is there at the end, read by statements of our own: the ledger's rows, what lies in Redis, and the gateway's log of calls."""

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
    """What the ledger has, and what still lies in the intake."""

    messages: Collection[str]
    refused: Collection[str]
    in_intake: Collection[str]
    states: Mapping[str, int]
    """Submissions in each state."""
    unknown: Mapping[int, int]
    """How many mobiles have the calls that are unknown, by msgId."""
    said_taken: Collection[int]
    """The msgIds of which the ledger says that the gateway took them."""
    members: int
    """Recipients of the campaign."""
    reports: int
    foreign_reports: int
    """Those of the extra pushes."""
    unread_reports: int
    """In pushes that are kept and not processed: they wait, and are not lost."""


@dataclass(frozen=True)
class Evidence:
    """All that is judged. Times are Unix seconds."""

    accepted: Mapping[str, str]
    """The mobile of each message that `send` returned, under its id."""
    otps: Mapping[str, float]
    """Just before the `send` of each OTP, under its mobile."""
    poison: Mapping[str, str]
    """What the poison of that id was."""
    members: int
    """Of the campaign, if it was started."""
    pushed: int
    """Reports of the extra pushes that were acknowledged."""
    spells: Sequence[Spell]
    looks: Sequence[Look]
    calls: Sequence[Mapping[str, Any]]
    """The gateway's own log."""
    rows: Rows
    ended: Sequence[str]
    """What ended by itself, but for the sick worker."""
    waiting: Mapping[str, int] | None
    """How much still waits of each kind; None where it could not be asked."""


def rows_of(stack: Stack, engine: Engine, *, foreign: str, campaign: str) -> Rows:
    """Reads it all. `foreign` is how the mobiles of the extra pushes begin, `campaign` those of the campaign's members."""
    with Redis.from_url(stack.redis_url, socket_timeout=30) as redis:
        names = [name for lane in LANES for name in redis.hkeys(f"sms:intake:{lane}")]
    with engine.connect() as connection:

        def column(statement: str, **values: Any) -> list[Any]:
            return list(connection.execute(text(statement), values).scalars())

        def pairs(statement: str) -> dict[Any, int]:
            return {name: int(count) for name, count in connection.execute(text(statement))}

        of_foreign = column("SELECT count(*) FROM reports WHERE mobile LIKE :like", like=f"{foreign}%")[0]
        return Rows(
            messages=set(column("SELECT public_id FROM messages")),
            refused=set(column("SELECT id FROM refused")),
            in_intake={name.decode(errors="replace") for name in names},
            states=pairs("SELECT state, count(*) FROM submissions GROUP BY state"),
            unknown=pairs("SELECT msg_id, mobiles FROM submissions WHERE state = 'unknown'"),
            said_taken=set(column("SELECT msg_id FROM submissions WHERE state IN ('accepted', 'unreported')")),
            members=column("SELECT count(*) FROM recipients WHERE mobile LIKE :like", like=f"{campaign}%")[0],
            reports=column("SELECT count(*) FROM reports")[0] - of_foreign,
            foreign_reports=of_foreign,
            unread_reports=sum(
                bytes(body).count(b"<pushStatusForm>")
                for body in column("SELECT body FROM pushes WHERE state = 'received'")
            ),
        )

"""What several commands share: the ledger to read, the client to send with, and options."""

import getpass
import os
import re
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Annotated

import typer
from redis.exceptions import RedisError
from sqlalchemy import Connection, Engine

from worker.client import SmsClient
from worker.config import Settings, load_settings, revealed
from worker.domain.lane import LANES
from worker.ledger import schema
from worker.ledger.engine import open_engine, reading
from worker.redis_store import accounts as announced
from worker.redis_store.connect import open_redis

_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


def open_ledger(settings: Settings, *, lock_wait: str | None = None) -> Engine:
    """The ledger of the settings, whatever its version.

    It connects at its first use, and waits `lock_wait` for a lock.
    """
    return open_engine(revealed(settings.ledger_url), connections=1, lock_wait=lock_wait)


@contextmanager
def ledger_engine(settings: Settings) -> Iterator[Engine]:
    """The ledger of the settings. Raises WrongSchema where its version is not that of this program."""
    engine = open_ledger(settings)
    try:
        schema.check(engine)
        yield engine
    finally:
        engine.dispose()


@contextmanager
def ledger(settings: Settings | None = None) -> Iterator[Connection]:
    """A connection to the ledger for reading only."""
    with ledger_engine(settings or load_settings("ledger")) as engine, reading(engine) as connection:
        yield connection


def known_accounts(settings: Settings) -> frozenset[str] | None:
    """The accounts of all workers; None where Redis is not set, does not answer, or knows none."""
    if settings.redis_url is None:
        return None
    try:
        with closing(open_redis(revealed(settings.redis_url), patience_seconds=5)) as redis:
            return announced.known(redis)
    except RedisError:
        return None


def client(settings: Settings) -> SmsClient:
    """A client for the Redis of the settings. It connects when it first sends."""
    return SmsClient(revealed(settings.redis_url))


def operator() -> str:
    """The user at the command line, as the ledger notes it. In a container the user may have no name."""
    try:
        name = getpass.getuser()
    except (KeyError, OSError):
        name = f"uid {os.getuid()}"
    return f"operator:{name}"[:64]


def moment(text: str) -> datetime:
    """A time, as an age (90s, 30m, 1h, 7d) or as ISO 8601 (UTC, unless it says otherwise)."""
    if age := re.fullmatch(r"(\d{1,5})([smhd])", text):
        return datetime.now(UTC) - timedelta(**{_UNITS[age[2]]: int(age[1])})
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        raise typer.BadParameter(
            f"{text!r} is neither an age such as 90s, 30m, 1h, 7d nor a time in ISO 8601"
        ) from None
    return time if time.tzinfo else time.replace(tzinfo=UTC)


def split_mobiles(texts: Iterable[str]) -> list[str]:
    """The mobiles in texts that have commas between them."""
    return [mobile for text in texts for mobile in re.split("[,，]", text)]


# The names come from the domain, so that they are in one place; mypy cannot see them.
Lane = StrEnum("Lane", {name: name for name in LANES})  # type: ignore[misc]
NOTICE = Lane("notice")
Since = Annotated[
    datetime | None,
    typer.Option(parser=moment, metavar="AGE|TIME", help="Only since that time: 30m, 1h, 7d, or ISO 8601."),
]
Limit = Annotated[int, typer.Option(min=1, max=1000, help="How many at most.")]
OnlyLane = Annotated[Lane | None, typer.Option(help="Only of this lane.")]
OnlyAccount = Annotated[str | None, typer.Option(help="Only of this account.")]
Column = Annotated[str | None, typer.Option(help="The column that has the mobiles, if it is not found.")]
Sheet = Annotated[str | None, typer.Option(help="The sheet of a workbook, if it is not the first.")]

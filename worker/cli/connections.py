"""What the commands work with: the ledger, Redis, the client, and the name of the operator."""

import getpass
import os
from collections.abc import Iterator
from contextlib import closing, contextmanager

from redis import Redis
from redis.exceptions import RedisError
from sqlalchemy import Connection, Engine

from worker.client import SmsClient
from worker.config import Settings, load_settings, revealed
from worker.ledger import schema
from worker.ledger.engine import open_engine, reading
from worker.redis_store import accounts as announced
from worker.redis_store.connect import open_redis


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


@contextmanager
def redis_of(settings: Settings) -> Iterator[Redis]:
    """A connection to the Redis of the settings. It connects at its first use. Raises redis' exceptions."""
    with closing(open_redis(revealed(settings.redis_url), patience_seconds=5)) as redis:
        yield redis


def known_accounts(settings: Settings) -> frozenset[str] | None:
    """The accounts of all workers; None where Redis is not set, does not answer, or knows none."""
    if settings.redis_url is None:
        return None
    try:
        with redis_of(settings) as redis:
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

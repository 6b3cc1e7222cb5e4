"""Opening the ledger, on SQLite or PostgreSQL, and the two ways to use it: `engine.begin()` to write, `reading` to read."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from time import monotonic
from typing import Any

from sqlalchemy import URL, Connection, Engine, ExceptionContext, QueuePool, create_engine, event, make_url
from sqlalchemy.exc import OperationalError

CONNECT_SECONDS = 5
IDLE_SECONDS = 10
"""A transaction in which nothing is asked for so long is ended by PostgreSQL: its process is frozen, and others wait for its rows.

Ours do their reading of files, their calls and their questions to people outside of transactions.
"""
BATCHES_SECONDS = 0.5
READ_ONLY = "25006"
"""PostgreSQL's answer to a write where it takes none: a standby, or a database that somebody has set so."""
NOT_PERMITTED = "42501"
"""PostgreSQL's answer where the role lacks a right."""
NO_LOCK = "55P03"
"""PostgreSQL's answer where a lock could not be had in time."""
ENDED_IDLE = "25P03"
"""PostgreSQL's answer after IDLE_SECONDS."""


LOCK_WAIT = "1500ms"
"""How long those wait for a lock who may come again. Longer than PostgreSQL's deadlock_timeout, a second, after which an autovacuum
gives way."""


def open_engine(url: str | URL, *, connections: int = 5, lock_wait: str | None = None) -> Engine:
    """An engine with at most `connections` open at once (one on SQLite); it connects when it is first used.

    Where a lock is not had within `lock_wait` the statement fails (`errors.is_locked`); on SQLite nothing changes.

    Its errors have the statement that failed, never a value: those are texts and mobiles, and errors are logged.
    Raises sqlalchemy.exc.ArgumentError where the URL is none.
    """
    url = make_url(url)
    if url.get_backend_name() == "sqlite":
        return _open_sqlite(url)
    if url.drivername == "postgresql":
        url = url.set(drivername="postgresql+psycopg")
    engine = create_engine(
        url,
        hide_parameters=True,
        pool_size=connections,
        max_overflow=0,
        pool_timeout=30,
        pool_pre_ping=True,
        connect_args={
            "connect_timeout": CONNECT_SECONDS,
            "application_name": "sms-worker",
            # A server that is gone without a word is noticed in half a minute, not in two hours.
            "keepalives_idle": 10,
            "keepalives_interval": 5,
            "keepalives_count": 3,
            "tcp_user_timeout": 30_000,
        },
    )
    limits = {
        "idle_in_transaction_session_timeout": f"{IDLE_SECONDS}s",
        "lock_timeout": lock_wait,
        # Whatever somebody has set for the database. PostgreSQL's own functions come before those in public.
        "search_path": "public, pg_temp",
    }
    event.listen(engine, "connect", partial(_limit, {name: value for name, value in limits.items() if value}))
    event.listen(engine, "handle_error", _without_values)
    event.listen(engine, "handle_error", _count_as_away)
    return engine


def with_lock_wait(engine: Engine, *, connections: int) -> Engine:
    """An engine to the same ledger that waits LOCK_WAIT for a lock; on SQLite, where all take turns at one connection, the same."""
    if engine.dialect.name == "sqlite":
        return engine
    return open_engine(engine.url, connections=connections, lock_wait=LOCK_WAIT)


def _limit(limits: Mapping[str, str], connection: Any, _record: Any) -> None:
    # Not among the options of the connection: a pooler such as PgBouncer refuses those that it does not know.
    connection.autocommit = True
    for name, value in limits.items():
        connection.execute("SELECT pg_catalog.set_config(%s, %s, false)", (name, value))
    connection.autocommit = False


DATA_EXCEPTION = "22"
"""PostgreSQL's class of values that do not fit; it says them."""


def _without_values(context: ExceptionContext) -> None:
    """Leaves of what PostgreSQL said its first line: the others, DETAIL and CONTEXT, have the values of a row or of the statement."""
    error: Any = context.original_exception
    if getattr(error, "sqlstate", None) is None:
        return  # it does not come from the server, which alone quotes values
    if error.sqlstate.startswith(DATA_EXCEPTION):
        said = f"a value does not fit (SQLSTATE {error.sqlstate})"
    else:
        said = error.diag.message_primary or f"SQLSTATE {error.sqlstate}"
    error.args = (said,)
    if context.sqlalchemy_exception is not None:
        name = f"{type(error).__module__}.{type(error).__name__}"
        context.sqlalchemy_exception.args = (f"({name}) {said}",)


def _count_as_away(context: ExceptionContext) -> None:
    # psycopg has them among the server's internal and the program's own errors; to whoever writes it is as if the ledger could not
    # be reached: nothing is wrong with what is written, and it goes on once somebody has put that right.
    if getattr(context.original_exception, "sqlstate", None) in (READ_ONLY, NOT_PERMITTED, ENDED_IDLE):
        raise OperationalError(
            context.statement,
            None,
            context.original_exception,
            hide_parameters=True,
            connection_invalidated=context.is_disconnect,
        )


def _open_sqlite(url: URL) -> Engine:
    engine = create_engine(
        url,
        hide_parameters=True,
        # One writes at a time anyway: threads that wait here take turns, those that wait in SQLite poll.
        poolclass=QueuePool,
        pool_size=1,
        max_overflow=0,
        # Its own transaction handling stays out of the way: `_begin` says when one begins.
        connect_args={"timeout": 30, "isolation_level": None, "check_same_thread": False},
    )

    @event.listens_for(engine, "connect")
    def _configure(connection: Any, _record: Any) -> None:
        # FULL: what was committed outlasts a power cut too, else a claimed submission could be sent a second time.
        for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
            connection.execute(f"PRAGMA {pragma}")

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        # A transaction that reads first and writes later would fail when another wrote in between; this one waits its turn.
        if connection.get_execution_options().get("isolation_level") != "AUTOCOMMIT":
            connection.exec_driver_sql("BEGIN IMMEDIATE")

    return engine


@contextmanager
def reading(engine: Engine) -> Iterator[Connection]:
    """A connection to read with: each statement sees what is committed, and no writer waits for it."""
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        yield connection


def in_batches(
    engine: Engine, change: Callable[[Connection], int], *, most: int, clock: Callable[[], float] = monotonic
) -> int:
    """Calls `change`, each time in a transaction of its own, until it changes fewer than `most` or the time is up; how many it changed.

    So what has piled up is caught up with, nobody waits long for a row, and whatever comes next has its turn. The time is
    BATCHES_SECONDS; `clock` is in seconds.
    """
    until = clock() + BATCHES_SECONDS
    changed = 0
    while True:
        with engine.begin() as connection:
            now_changed = change(connection)
        changed += now_changed
        if now_changed < most or clock() >= until:
            return changed

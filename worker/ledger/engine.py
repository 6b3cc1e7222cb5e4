"""Opens the ledger, on SQLite or PostgreSQL. `engine.begin()` is for writing, and `reading` for reading."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from time import monotonic
from typing import Any

from sqlalchemy import URL, Connection, Engine, ExceptionContext, QueuePool, create_engine, event, make_url
from sqlalchemy.exc import OperationalError

CONNECT_SECONDS = 5
IDLE_SECONDS = 10
"""PostgreSQL ends a transaction that stands idle for this long: its process is frozen, and others wait for its rows.

We read files, call the gateway and ask people outside of transactions.
"""
BATCHES_SECONDS = 0.5
READ_ONLY = "25006"
"""PostgreSQL's answer to a write where it takes none: a standby, or a database that somebody has made read-only."""
NOT_PERMITTED = "42501"
"""PostgreSQL's answer where the role lacks a right."""
NO_LOCK = "55P03"
"""PostgreSQL's answer where a lock could not be had in time."""
ENDED_IDLE = "25P03"
"""PostgreSQL's answer after IDLE_SECONDS."""


LOCK_WAIT = "1500ms"
"""How long a transaction that may be tried again waits for a lock. It is longer than PostgreSQL's deadlock_timeout of a
second, after which an autovacuum gives way.
"""


def open_engine(url: str | URL, *, connections: int = 5, lock_wait: str | None = None) -> Engine:
    """Returns an engine with at most `connections` open at once (one on SQLite). It connects when it is first used.

    A statement that does not get a lock within `lock_wait`, such as `"1500ms"`, fails (`errors.is_locked`). On SQLite
    it has no effect.

    Errors show the statement that failed, but never a value: values are texts and mobiles, and errors are logged.
    Raises sqlalchemy.exc.ArgumentError where the URL is not one.
    """
    url = make_url(url)
    return _open_sqlite(url) if url.get_backend_name() == "sqlite" else _open_postgresql(url, connections, lock_wait)


def _open_postgresql(url: URL, connections: int, lock_wait: str | None) -> Engine:
    engine = create_engine(
        url.set(drivername="postgresql+psycopg") if url.drivername == "postgresql" else url,
        hide_parameters=True,
        pool_size=connections,
        max_overflow=0,
        pool_timeout=30,
        pool_pre_ping=True,
        connect_args=_CONNECT_ARGS,
    )
    limits = {
        "idle_in_transaction_session_timeout": f"{IDLE_SECONDS}s",
        "lock_timeout": lock_wait,
        # Set here, whatever somebody has set for the database. PostgreSQL's own functions come before those in public.
        "search_path": "public, pg_temp",
    }
    event.listen(engine, "connect", partial(_limit, {name: value for name, value in limits.items() if value}))
    event.listen(engine, "handle_error", _without_values)
    event.listen(engine, "handle_error", _count_as_away)
    return engine


_CONNECT_ARGS = {
    "connect_timeout": CONNECT_SECONDS,
    "application_name": "sms-worker",
    # A server that vanishes without a word is noticed in half a minute, not in two hours.
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 30_000,
}


def with_lock_wait(engine: Engine, *, connections: int) -> Engine:
    """Returns an engine to the same ledger that waits at most LOCK_WAIT for a lock. On SQLite, where all threads take
    turns at one connection, it returns the same engine.
    """
    if engine.dialect.name == "sqlite":
        return engine
    return open_engine(engine.url, connections=connections, lock_wait=LOCK_WAIT)


def _limit(limits: Mapping[str, str], connection: Any, _record: Any) -> None:
    # These are not options of the connection, because a pooler such as PgBouncer refuses options that it does not know.
    connection.autocommit = True
    for name, value in limits.items():
        connection.execute("SELECT pg_catalog.set_config(%s, %s, false)", (name, value))
    connection.autocommit = False


DATA_EXCEPTION = "22"
"""PostgreSQL's class of errors about values that do not fit. Their messages quote the values."""


def _without_values(context: ExceptionContext) -> None:
    """Cuts PostgreSQL's message to its first line. The others, DETAIL and CONTEXT, quote values of a row or of the
    statement.
    """
    error: Any = context.original_exception
    if getattr(error, "sqlstate", None) is None:
        return  # it does not come from the server, which alone quotes values
    if error.sqlstate.startswith(DATA_EXCEPTION):
        message = f"a value does not fit (SQLSTATE {error.sqlstate})"
    else:
        message = error.diag.message_primary or f"SQLSTATE {error.sqlstate}"
    error.args = (message,)
    if context.sqlalchemy_exception is not None:
        name = f"{type(error).__module__}.{type(error).__name__}"
        context.sqlalchemy_exception.args = (f"({name}) {message}",)


def _count_as_away(context: ExceptionContext) -> None:
    # psycopg counts them among the server's internal errors and the program's own. To a caller it is as if the ledger
    # could not be reached. The rows are not at fault, and the caller goes on once somebody has mended that.
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
        # Only one connection can write at a time anyway. Threads that wait here take turns; threads that wait in SQLite
        # would poll.
        poolclass=QueuePool,
        pool_size=1,
        max_overflow=0,
        # The transaction handling of sqlite3 stays out of the way: `_begin` begins each transaction.
        connect_args={"timeout": 30, "isolation_level": None, "check_same_thread": False},
    )

    @event.listens_for(engine, "connect")
    def _configure(connection: Any, _record: Any) -> None:
        # FULL keeps what was committed through a power cut too. Else a claimed submission could be sent a second time.
        for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
            connection.execute(f"PRAGMA {pragma}")

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        # A transaction that reads first and writes later would fail if another wrote in between. This one waits its
        # turn.
        if connection.get_execution_options().get("isolation_level") != "AUTOCOMMIT":
            connection.exec_driver_sql("BEGIN IMMEDIATE")

    return engine


@contextmanager
def reading(engine: Engine) -> Iterator[Connection]:
    """Yields a connection to read with. Each statement sees what is committed, and no writer waits for it."""
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        yield connection


def in_batches(
    engine: Engine, change: Callable[[Connection], int], *, most: int, clock: Callable[[], float] = monotonic
) -> int:
    """Calls `change` again and again, each time in a transaction of its own. Returns how many rows it changed in all.

    It stops when `change` changes fewer than `most`, or after BATCHES_SECONDS. So a backlog is worked off, nobody waits
    long for a row, and later steps get their time. `clock` is in seconds.
    """
    deadline = clock() + BATCHES_SECONDS
    changed = 0
    while True:
        with engine.begin() as connection:
            count = change(connection)
        changed += count
        if count < most or clock() >= deadline:
            return changed

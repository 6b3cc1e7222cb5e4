"""Which errors make a thread wait while the ledger is away, and which do not."""

from collections.abc import Callable

import psycopg
import pytest
from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import DBAPIError, OperationalError

from worker.ledger.engine import open_engine
from worker.ledger.errors import is_away, retried
from worker.runtime.retry import PAUSES, retried_while

NOWHERE = "postgresql://127.0.0.1:1/none"


def run(engine: Engine, sql: str) -> object:
    with engine.begin() as connection:
        return connection.execute(text(sql)).scalar()


def test_a_ledger_that_refuses_connections_is_tried_again_at_growing_pauses_until_it_is_time_to_give_up() -> None:
    pauses: list[float] = []

    def pause(seconds: float) -> bool:
        pauses.append(seconds)
        return len(pauses) > len(PAUSES)

    with pytest.raises(OperationalError):
        retried(run, pause)(open_engine(NOWHERE), "SELECT 1")
    assert pauses == [*PAUSES, PAUSES[-1]]


def test_what_was_begun_while_the_ledger_was_away_is_done_once_it_is_back(engine: Engine) -> None:
    engines = [open_engine(NOWHERE), engine]
    assert retried(lambda: run(engines.pop(0), "SELECT 1"), _no_end)() == 1


def test_what_else_may_be_away_is_waited_for_where_it_is_told(caplog: pytest.LogCaptureFixture) -> None:
    answers: list[str | None] = [None, None, "there"]

    def ask() -> str:
        if answer := answers.pop(0):
            return answer
        raise ConnectionRefusedError

    asked = retried_while(
        ask, _no_end, is_away=lambda error: isinstance(error, ConnectionRefusedError), store="the oracle"
    )
    assert asked() == "there"
    assert [record.getMessage() for record in caplog.records] == ["the oracle is away, tasks wait for it: "]


def test_a_ledger_that_takes_no_writes_is_waited_for(ledger_url: str, engine: Engine) -> None:
    write = "UPDATE alembic_version SET version_num = version_num"
    tries: list[float] = []

    def pause(seconds: float) -> bool:
        tries.append(seconds)
        if len(tries) == 2:
            make_read_only(engine, False)
        return False

    make_read_only(engine, True)
    retried(run_write, pause)(engine, write)
    assert len(tries) == 2


def make_read_only(engine: Engine, read_only: bool) -> None:
    """Makes new connections read-only, or writable again: as in an operator's maintenance, or on a standby."""
    if engine.dialect.name == "sqlite":
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.execute(text(f"PRAGMA query_only = {int(read_only)}"))
        return
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("SET default_transaction_read_only = off"))
        setting = "on" if read_only else "off"
        connection.execute(
            text(f'ALTER DATABASE "{engine.url.database}" SET default_transaction_read_only = {setting}')
        )
    engine.dispose()


def run_write(engine: Engine, sql: str) -> None:
    with engine.begin() as connection:
        connection.execute(text(sql))


def test_a_ledger_whose_disk_is_full_is_waited_for(sqlite_url: str) -> None:
    engine = open_engine(sqlite_url)

    def room(pages: int) -> None:
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.execute(text(f"PRAGMA max_page_count = {pages}"))

    def pause(_: float) -> bool:
        room(1_000_000)
        return False

    room(1)
    retried(run_write, pause)(engine, "CREATE TABLE filler (text)")
    engine.dispose()


@pytest.mark.parametrize("error", [psycopg.errors.DiskFull, psycopg.errors.OutOfMemory, psycopg.errors.IoError])
def test_a_server_whose_disk_or_memory_is_full_is_away(error: type[psycopg.Error]) -> None:
    assert is_away(OperationalError("INSERT", {}, error()))


@pytest.mark.parametrize("sql", ["SELECT * FROM no_such_table", "SELEC 1", "INSERT INTO accounts (name) VALUES (NULL)"])
def test_a_statement_that_is_wrong_is_not_tried_again(engine: Engine, sql: str) -> None:
    with pytest.raises(DBAPIError):
        retried(run, _never)(engine, sql)


def test_a_connection_that_the_server_ends_is_replaced(postgres_url: str) -> None:
    engine = open_engine(postgres_url)
    endings: list[Callable[[Connection], object]] = [
        lambda connection: connection.execute(text("SELECT pg_terminate_backend(pg_backend_pid())")),
        lambda connection: connection.execute(text("SELECT 1")).scalar(),
    ]

    def write() -> object:
        with engine.begin() as connection:
            return endings.pop(0)(connection)

    assert retried(write, _no_end)() == 1
    engine.dispose()


def test_a_transaction_in_which_nothing_is_asked_for_ten_seconds_is_ended(postgres_url: str) -> None:
    engine = open_engine(postgres_url)
    for _ in range(2):
        assert run(engine, "SHOW idle_in_transaction_session_timeout") == "10s"
    engine.dispose()


def test_what_was_ended_for_its_process_was_frozen_is_done_again(postgres_url: str) -> None:
    engine, other = open_engine(postgres_url), open_engine(postgres_url)
    tries: list[int] = []

    def write() -> object:
        with engine.begin() as connection:
            pid: int = connection.execute(text("SELECT pg_backend_pid()")).scalar_one()
            tries.append(pid)
            if len(tries) == 1:
                connection.execute(text("SET idle_in_transaction_session_timeout = 1"))
                while run(other, f"SELECT count(*) FROM pg_stat_activity WHERE pid = {pid}"):
                    pass  # it does nothing, as if it stood still
            return connection.execute(text("SELECT 1")).scalar()

    with pytest.raises(OperationalError) as ended:
        write()
    assert ended.value.connection_invalidated
    tries.clear()
    assert retried(write, _no_end)() == 1
    assert len(tries) == 2
    engine.dispose()
    other.dispose()


def _no_end(_: float) -> bool:
    return False


def _never(seconds: float) -> bool:
    raise AssertionError(f"it was to be tried again after {seconds} s")

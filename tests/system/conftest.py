"""The system as real processes: one stack on each database, for all tests."""

import time
from collections.abc import Iterator

import pytest
from sqlalchemy import Engine, text

from worker.cli.stack import Stack, running_stack
from worker.ledger.engine import open_engine, reading


@pytest.fixture(scope="session", params=["sqlite", "postgresql"])
def _running(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    ledger_url = _new_database(request.getfixturevalue("postgres_uri")) if request.param == "postgresql" else None
    with running_stack(tmp_path_factory.mktemp("stack"), ledger_url=ledger_url) as stack:
        yield stack


def _new_database(postgres_uri: str) -> str:
    name = f"stack_{time.monotonic_ns()}"
    with reading(open_engine(postgres_uri)) as connection:
        connection.execute(text(f"CREATE DATABASE {name}"))
    return postgres_uri.replace("/postgres?", f"/{name}?")


@pytest.fixture
def stack(_running: Stack) -> Iterator[Stack]:
    """The system up and ready, its gateway as if just started. The ledger keeps what earlier tests put there."""
    _running.check()
    _running.ask_simulator("reset", {})
    yield _running
    _running.check()


@pytest.fixture
def ledger(stack: Stack) -> Iterator[Engine]:
    """The stack's ledger."""
    engine = open_engine(stack.ledger_url)
    yield engine
    engine.dispose()

"""The system as real processes: one stack on each database, for all tests."""

import time
from collections.abc import Iterator

import pytest
from redis import Redis
from sqlalchemy import Engine, func, select, text
from stack_probe import refused_rights

from worker.devstack.stack import Stack, running_stack
from worker.domain.lane import QUEUES
from worker.domain.status import State
from worker.ledger import tables as t
from worker.ledger.engine import open_engine, reading
from worker.redis_store import intake
from worker.redis_store.celery_connection import UNACKED_KEY


@pytest.fixture(scope="session")
def _on_sqlite(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with running_stack(tmp_path_factory.mktemp("stack")) as stack:
        yield stack


@pytest.fixture(scope="session")
def _on_postgresql(tmp_path_factory: pytest.TempPathFactory, postgres_uri: str) -> Iterator[Stack]:
    with running_stack(tmp_path_factory.mktemp("stack"), ledger_url=_new_database(postgres_uri)) as stack:
        yield stack


def _new_database(postgres_uri: str) -> str:
    name = f"stack_{time.monotonic_ns()}"
    engine = open_engine(postgres_uri)
    with reading(engine) as connection:
        connection.execute(text(f"CREATE DATABASE {name}"))
    engine.dispose()
    return postgres_uri.replace("/postgres?", f"/{name}?")


@pytest.fixture
def postgres_url(postgres_url: str) -> Iterator[str]:
    """An empty ledger on PostgreSQL, in which nobody needs a right that he does not have."""
    yield postgres_url
    assert not refused_rights(postgres_url), "what a role of worker/ledger/roles.py needs, it may do"


@pytest.fixture(params=["sqlite", "postgresql"])
def stack(request: pytest.FixtureRequest) -> Iterator[Stack]:
    """The system up and ready, its gateway as if just started. The ledger keeps what earlier tests put there.

    Both systems run until the last test has ended: to start one takes seconds.
    """
    running: Stack = request.getfixturevalue(f"_on_{request.param}")
    # A message that an earlier test left on its way would be called in this one.
    engine = open_engine(running.ledger_url)
    with Redis.from_url(running.redis_url) as redis:
        running.wait_for("nothing on its way", lambda: not _on_its_way(engine, redis))
    engine.dispose()
    running.ask_simulator("reset", {})
    yield running
    running.check()
    with Redis.from_url(running.redis_url) as redis:
        refused = redis.acl_log()
        assert not refused, "what a role of worker/redis_store/redis.acl needs, it may do"
    assert not refused_rights(running.ledger_url), "what a role of worker/ledger/roles.py needs, it may do"


def _on_its_way(engine: Engine, redis: Redis) -> int:
    ahead = sum(intake.depth(redis).values()) + sum(redis.llen(queue) for queue in QUEUES) + redis.hlen(UNACKED_KEY)
    if ahead:
        return ahead
    with reading(engine) as connection:
        underway = t.submissions.c.state.in_([State.QUEUED, State.SUBMITTING])
        return connection.execute(select(func.count()).where(underway)).scalar_one()


@pytest.fixture
def ledger(stack: Stack) -> Iterator[Engine]:
    """The stack's ledger."""
    engine = open_engine(stack.ledger_url)
    yield engine
    engine.dispose()

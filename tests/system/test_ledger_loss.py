"""The ledger is killed or frozen with calls in flight: no task and no outcome is lost, and all goes on by itself."""

import re
import time
from collections.abc import Iterator

import pytest
from sqlalchemy import Engine, text
from stack_probe import simulator, states

from chaos.postgres import Postgres, postgres_for
from worker.client import SmsClient
from worker.devstack.stack import Stack, running_stack
from worker.domain.lane import CALLS_AT_ONCE
from worker.ledger.engine import open_engine, reading

pytestmark = [
    pytest.mark.beside,
    pytest.mark.long("freezes and kills a ledger for longer than its timeouts"),
]

CONCURRENCY = 4
IN_FLIGHT = CONCURRENCY * CALLS_AT_ONCE
MESSAGES = 4 * IN_FLIGHT
FROZEN_SECONDS = 20
GOES_ON_WITHIN = 15


@pytest.fixture(scope="module")
def postgres() -> Iterator[Postgres]:
    with postgres_for("postgresql") as server:
        assert server is not None
        yield server


@pytest.fixture(scope="module")
def stack(postgres: Postgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    directory = tmp_path_factory.mktemp("stack")
    with running_stack(directory, ledger_url=postgres.url, concurrency=CONCURRENCY) as running:
        yield running


@pytest.fixture
def busy(stack: Stack) -> Stack:
    """A stack whose worker has as many calls in flight as it makes at a time, and more messages wait."""
    stack.ask_simulator("reset", {})
    stack.ask_simulator("behave", {"latency_ms": 1000})
    send(stack, MESSAGES)
    stack.wait_for("its hands full", lambda: simulator(stack, "calls_in_flight") == IN_FLIGHT)
    return stack


def send(stack: Stack, count: int) -> None:
    start = time.time_ns() // 1_000_000 % 10**8
    mobiles = [f"138{(start + n) % 10**8:08}" for n in range(count)]
    messages = [{"to": mobile, "content": "您的验证码是 123456", "lane": "otp"} for mobile in mobiles]
    SmsClient(stack.redis_url).send_many(messages)


def goes_on(stack: Stack, messages: int) -> None:
    """Waits until that many messages are sent and recorded. None is unknown, and none was called twice."""
    stack.wait_for(
        "everything sent and recorded",
        lambda: simulator(stack, "mobiles_taken") >= messages and set(states(stack)) == {"accepted"},
        seconds=GOES_ON_WITHIN,
    )
    assert simulator(stack, "mobiles_taken") == messages


def test_tasks_wait_for_a_ledger_that_was_killed_and_what_calls_came_to_is_recorded_then(
    busy: Stack, postgres: Postgres
) -> None:
    postgres.kill()
    busy.wait_for("the calls in flight at their end", lambda: simulator(busy, "calls_in_flight") == 0)
    called = simulator(busy, "calls_taken")
    send(busy, IN_FLIGHT)
    postgres.start()
    goes_on(busy, MESSAGES + IN_FLIGHT)
    assert called < MESSAGES


def test_nothing_is_called_while_the_ledger_is_frozen_and_all_goes_on_after_it(busy: Stack, postgres: Postgres) -> None:
    postgres.freeze()
    try:
        thawed_at = time.monotonic() + FROZEN_SECONDS
        busy.wait_for("the calls in flight at their end", lambda: simulator(busy, "calls_in_flight") == 0)
        called = simulator(busy, "calls_taken")
        send(busy, IN_FLIGHT)
        busy.wait_for("the end of the frost", lambda: time.monotonic() > thawed_at)
        assert simulator(busy, "calls_taken") == called
    finally:
        postgres.thaw()
    goes_on(busy, MESSAGES + IN_FLIGHT)


def test_a_worker_that_is_told_to_end_waits_for_the_ledger_with_what_its_calls_came_to(
    busy: Stack, postgres: Postgres
) -> None:
    postgres.kill()
    worker = busy.processes.pop("worker")
    worker.terminate()
    busy.wait_for("the calls in flight at their end", lambda: simulator(busy, "calls_in_flight") == 0)
    assert worker.poll() is None
    postgres.start()
    assert worker.wait(GOES_ON_WITHIN) == 0
    assert states(busy)["submitting"] == 0
    busy.start("worker")
    goes_on(busy, MESSAGES)


def test_no_log_has_a_text_or_a_mobile_when_the_ledger_is_killed_in_the_middle_of_a_statement(
    stack: Stack, postgres: Postgres
) -> None:
    stack.ask_simulator("reset", {})
    log = stack.log("worker")
    so_far = len(log.read_text())
    engine = open_engine(postgres.url)
    with engine.connect() as other:
        other.execute(text("LOCK TABLE messages IN SHARE MODE"))
        send(stack, IN_FLIGHT)
        stack.wait_for("an INSERT under way", lambda: is_inserted_into_messages(engine))
        postgres.kill()
        other.invalidate()
    stack.wait_for("the worker to notice", lambda: "INSERT INTO messages" in log.read_text()[so_far:])
    engine.dispose()
    postgres.start()
    goes_on(stack, IN_FLIGHT)
    for process in ("worker", "beat", "callback"):
        said = stack.log(process).read_text()
        assert "验证码" not in said
        assert not re.search(r"138\d{8}", said)


def is_inserted_into_messages(engine: Engine) -> bool:
    waits = "SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE 'INSERT INTO messages%'"
    with reading(engine) as connection:
        return connection.execute(text(waits)).first() is not None

"""A worker that is told to end, or is killed, with its hands full: calls are recorded, or unknown, and none is made twice."""

import signal
from collections.abc import Iterator

import pytest
from stack_of import simulator, states

from worker.cli.stack import Stack, running_stack, start_worker
from worker.client import SmsClient

CONCURRENCY = 100
PER_TASK = 10
MESSAGES = CONCURRENCY * PER_TASK
# A lease of 21.5 seconds.
SETTINGS = {"SMS_CONNECT_TIMEOUT": "0.5", "SMS_READ_TIMEOUT": "5"}


@pytest.fixture
def full(tmp_path_factory: pytest.TempPathFactory, postgres_url: str) -> Iterator[Stack]:
    """A worker with a hundred calls in flight, each the first of a task that holds ten submissions."""
    directory = tmp_path_factory.mktemp("stack")
    with running_stack(directory, ledger_url=postgres_url, concurrency=CONCURRENCY, settings=SETTINGS) as stack:
        stack.ask_simulator("behave", {"latency_ms": 4000})
        messages = [{"to": f"138{n:08}", "content": "您的订单已发货。"} for n in range(MESSAGES)]
        SmsClient(stack.redis_url).send_many(messages)
        stack.wait_for("a hundred calls in flight", lambda: simulator(stack, "calls_in_flight") == CONCURRENCY)
        assert simulator(stack, "calls_taken") == CONCURRENCY
        # Those that another worker makes afterwards.
        stack.ask_simulator("behave", {"latency_ms": 0})
        yield stack


def test_a_worker_that_is_told_to_end_finishes_its_calls_and_gives_back_the_rest_at_once(full: Stack) -> None:
    worker = full.processes.pop("worker")
    worker.send_signal(signal.SIGTERM)
    assert worker.wait(20) == 0
    assert states(full) == {"accepted": CONCURRENCY, "queued": MESSAGES - CONCURRENCY}
    start_worker(full, "next", CONCURRENCY)
    # Sooner than the 30 seconds after which the tick finds what has lost its task.
    full.wait_for("the rest", lambda: states(full) == {"accepted": MESSAGES}, seconds=20)
    assert simulator(full, "mobiles_taken") == MESSAGES


def test_of_a_killed_worker_each_call_is_unknown_after_its_lease_and_none_is_made_again(full: Stack) -> None:
    full.stop("worker", kill=True)
    start_worker(full, "next", CONCURRENCY)
    settled = {"unknown": CONCURRENCY, "accepted": MESSAGES - CONCURRENCY}
    full.wait_for("all settled", lambda: states(full) == settled)
    assert simulator(full, "mobiles_taken") == MESSAGES

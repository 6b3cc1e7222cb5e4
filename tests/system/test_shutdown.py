"""A busy worker is told to end, or is killed: its calls are recorded or unknown, and none is made twice."""

import signal
from collections import Counter
from collections.abc import Iterator

import pytest
from stack_probe import simulator, states

from worker.client import SmsClient
from worker.devstack.stack import Stack, running_stack, start_worker
from worker.domain.lane import CALLS_AT_ONCE

CONCURRENCY = 10
IN_FLIGHT = CONCURRENCY * CALLS_AT_ONCE
MESSAGES = 10 * IN_FLIGHT
SETTINGS = {"SMS_CONNECT_TIMEOUT": "0.5", "SMS_READ_TIMEOUT": "5"}
LEASE_SECONDS = 21.5


@pytest.fixture
def full(tmp_path_factory: pytest.TempPathFactory, postgres_url: str) -> Iterator[Stack]:
    """A stack whose worker has a hundred calls in flight, ten for each task that it can run at once. Nine hundred more
    wait.
    """
    directory = tmp_path_factory.mktemp("stack")
    with running_stack(directory, ledger_url=postgres_url, concurrency=CONCURRENCY, settings=SETTINGS) as stack:
        stack.ask_simulator("behave", {"latency_ms": 4000})
        # Each with a text of its own, for a call of its own.
        messages = [{"to": f"138{n:08}", "content": f"您的订单{n:04}已发货。"} for n in range(MESSAGES)]
        SmsClient(stack.redis_url).send_many(messages)
        stack.wait_for("a hundred calls in flight", lambda: simulator(stack, "calls_in_flight") == IN_FLIGHT)
        assert simulator(stack, "calls_taken") == IN_FLIGHT
        under_way = {"submitting": IN_FLIGHT, "queued": MESSAGES - IN_FLIGHT}
        stack.wait_for("all the others in the ledger", lambda: states(stack) == under_way, seconds=3)
        # The calls that another worker makes afterwards.
        stack.ask_simulator("behave", {"latency_ms": 0})
        yield stack


@pytest.mark.long("has a hundred calls under way within four seconds, for which it needs the machine to itself")
def test_a_worker_that_is_told_to_end_finishes_its_calls_and_leaves_the_rest_to_the_next(full: Stack) -> None:
    worker = full.processes.pop("worker")
    worker.send_signal(signal.SIGTERM)
    assert worker.wait(10) == 0
    assert simulator(full, "calls_taken") == IN_FLIGHT
    assert states(full) == {"accepted": IN_FLIGHT, "queued": MESSAGES - IN_FLIGHT}
    start_worker(full, "next", CONCURRENCY)
    full.wait_for("the rest", lambda: states(full) == {"accepted": MESSAGES}, seconds=15)
    assert _times_called(full) == Counter({f"138{n:08}": 1 for n in range(MESSAGES)})


@pytest.mark.long("waits for the lease of each call that was under way")
def test_of_a_killed_worker_each_call_is_unknown_after_its_lease_and_none_is_made_again(full: Stack) -> None:
    full.stop("worker", kill=True)
    start_worker(full, "next", CONCURRENCY)
    # The rest does not wait for the leases of the calls under way.
    meanwhile = {"submitting": IN_FLIGHT, "accepted": MESSAGES - IN_FLIGHT}
    full.wait_for("the rest", lambda: states(full) == meanwhile, seconds=15)
    settled = {"unknown": IN_FLIGHT, "accepted": MESSAGES - IN_FLIGHT}
    full.wait_for("all settled", lambda: states(full) == settled, seconds=LEASE_SECONDS)
    assert _times_called(full) == Counter({f"138{n:08}": 1 for n in range(MESSAGES)})


def _times_called(stack: Stack) -> Counter[str]:
    calls = stack.ask_simulator(f"calls?limit={2 * MESSAGES}")["calls"]
    return Counter(mobile for call in calls for mobile in call["mobiles"])

"""Why the intake exists: tasks are lost when a worker is killed or a queue is deleted, and no message may be lost with
them.
"""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from celery import Celery
from redis import Redis
from sqlalchemy import Engine, func, select
from stack_probe import simulator

from worker.client import SmsClient
from worker.devstack.stack import Stack, running_stack
from worker.domain.lane import CALLS_AT_ONCE, LANES
from worker.domain.status import State
from worker.ledger import tables as t
from worker.ledger.engine import open_engine, reading
from worker.redis_store.celery_connection import UNACKED_KEY

pytestmark = pytest.mark.beside

CONCURRENCY = 4
AT_ONCE = CONCURRENCY * CALLS_AT_ONCE
MESSAGES, KILLS = 1500, 6
# Short, for what a killed worker was calling stays claimed until its lease is over.
TIMEOUTS = {"SMS_READ_TIMEOUT": "1", "SMS_CONNECT_TIMEOUT": "1"}
LEASE_SECONDS = 19


@pytest.fixture
def stack(tmp_path: Path) -> Iterator[Stack]:
    """A system of its own, because the tests kill its worker."""
    with running_stack(tmp_path, concurrency=CONCURRENCY, settings=TIMEOUTS) as stack:
        yield stack


@pytest.fixture
def ledger(stack: Stack) -> Iterator[Engine]:
    engine = open_engine(stack.ledger_url)
    yield engine
    engine.dispose()


def states(ledger: Engine) -> dict[str, int]:
    """The number of submissions in each state."""
    with reading(ledger) as connection:
        counted = select(t.submissions.c.state, func.count()).group_by(t.submissions.c.state)
        return {state: count for state, count in connection.execute(counted)}  # noqa: C416 - mypy needs it spelt out


def ids(ledger: Engine) -> set[str]:
    with reading(ledger) as connection:
        return set(connection.execute(select(t.messages.c.public_id)).scalars())


def submissions_in(ledger: Engine, state: State) -> set[int]:
    with reading(ledger) as connection:
        return set(connection.execute(select(t.submissions.c.id).where(t.submissions.c.state == state)).scalars())


def mobiles_of(ledger: Engine, submission_ids: set[int]) -> set[str]:
    with reading(ledger) as connection:
        rows = connection.execute(select(t.recipients.c.submission_id, t.recipients.c.mobile))
        return {mobile for submission_id, mobile in rows if submission_id in submission_ids}


@pytest.mark.long("kills a worker again and again for half a minute")
@pytest.mark.timeout(240)
def test_a_saturated_worker_is_killed_again_and_again_and_takes_no_message_with_it(
    stack: Stack, ledger: Engine
) -> None:
    stack.ask_simulator("behave", {"latency_ms": 50})
    client = SmsClient(stack.redis_url)
    sent: dict[str, str] = {}
    called: set[int] = set()
    with Redis.from_url(stack.redis_url) as redis:
        for kill in range(KILLS):
            kept, calls = len(ids(ledger)), simulator(stack, "calls_taken")
            numbers = range(len(sent), len(sent) + MESSAGES // KILLS)
            # Each with a text of its own, for a call of its own.
            new = [{"to": f"139{n:08}", "content": f"您的包裹{n:04}已到"} for n in numbers]
            sent |= dict(zip(client.send_many(new), (str(fields["to"]) for fields in new), strict=True))
            moments = {
                "messages on their way to the ledger": lambda kept=kept: (
                    redis.zcard("sms:intake:notice:taken") or len(ids(ledger)) > kept
                ),
                "messages in the ledger": lambda kept=kept: len(ids(ledger)) > kept,
                "calls": lambda calls=calls: simulator(stack, "calls_taken") > calls,
            }
            moment = list(moments)[kill % len(moments)]
            stack.wait_for(moment, moments[moment])
            stack.stop("worker", kill=True)
            now_called = submissions_in(ledger, State.SUBMITTING) - called
            assert len(now_called) <= AT_ONCE
            called |= now_called
            stack.start("worker")
    assert called

    def settled() -> bool:
        counts = states(ledger)
        return sum(counts.values()) == MESSAGES and counts.keys() <= {State.ACCEPTED, State.UNKNOWN}

    stack.wait_for("all of them at their end", settled, seconds=LEASE_SECONDS + 20)
    assert ids(ledger) == set(sent)
    log = stack.ask_simulator(f"calls?limit={2 * MESSAGES}")["calls"]
    times_called = Counter(mobile for call in log for mobile in call["mobiles"])
    assert set(times_called.values()) == {1}
    # Only submissions that were being called at the moment of a kill are unknown.
    unknown = submissions_in(ledger, State.UNKNOWN)
    assert unknown <= called
    assert set(sent.values()) - times_called.keys() <= mobiles_of(ledger, unknown)


def test_a_message_outlives_its_task_where_one_that_is_sent_by_name_does_not(stack: Stack, ledger: Engine) -> None:
    worker = psutil.Process(stack.processes["worker"].pid)
    worker.suspend()
    queue = LANES["notice"].queue
    kept = SmsClient(stack.redis_url).send("13800138001", "您的包裹已到")
    by_name = Celery(broker=stack.redis_url, set_as_current=False).send_task(
        "sms.send", kwargs={"message": {"to": ["13800138002"], "content": "您的包裹已到"}}, queue=queue
    )
    with Redis.from_url(stack.redis_url) as redis:
        stack.wait_for("both tasks", lambda: redis.llen(queue) + _popped(redis) >= 2, seconds=5)
        # What a worker does that is killed between popping a task and noting it as unacknowledged.
        redis.delete(queue, UNACKED_KEY, f"{UNACKED_KEY}_index")
    # The worker that was waiting has a task in its socket perhaps: it goes with the worker.
    stack.stop("worker", kill=True)
    stack.start("worker")
    stack.wait_for("the message", lambda: kept in ids(ledger), seconds=10)
    # What was in the queue before this one would be there by now.
    after = SmsClient(stack.redis_url).send("13800138003", "您的包裹已到")
    stack.wait_for("one that was sent later", lambda: after in ids(ledger), seconds=10)
    assert str(by_name) not in ids(ledger)


def _popped(redis: Redis) -> int:
    """Tasks that Valkey has handed to the suspended worker, which cannot read them: one for each BRPOP that waited."""
    return sum(client["cmd"] == "brpop" and client["flags"] != "b" for client in redis.client_list())

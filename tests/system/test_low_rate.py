"""An account that may send to few mobiles a second: its OTPs do not wait for what less urgent lanes send."""

import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy import func, select

from worker.client import SmsClient
from worker.devstack.stack import Stack, running_stack
from worker.ledger import tables as t
from worker.ledger.engine import open_engine, reading
from worker.ledger.sending import gates

pytestmark = pytest.mark.long("measures how long codes wait at one call a second")

OTPS = 4


@pytest.fixture
def stack(tmp_path: Path) -> Iterator[Stack]:
    """A system of its own, because the tests change the settings of its worker."""
    with running_stack(tmp_path, concurrency=4) as stack:
        yield stack


def arrived(stack: Stack) -> dict[str, float]:
    """The time when the call to each mobile arrived."""
    return {mobile: call["arrived_at"] for call in stack.ask_simulator("calls")["calls"] for mobile in call["mobiles"]}


def largest_calls(stack: Stack) -> dict[str, int]:
    """The most mobiles of a call that waits or was made, by caller."""
    engine = open_engine(stack.ledger_url)
    with reading(engine) as connection:
        rows = connection.execute(
            select(t.submissions.c.caller, func.max(t.submissions.c.mobiles)).group_by(t.submissions.c.caller)
        ).all()
    engine.dispose()
    return {caller: int(mobiles) for caller, mobiles in rows}


@pytest.mark.timeout(240)
@pytest.mark.parametrize(("rate", "longest_seconds"), [("20", 1.0), ("1", 2.5)])
def test_otps_do_not_wait_for_calls_of_fifty_that_wait_in_a_less_urgent_lane(
    stack: Stack, rate: str, longest_seconds: float
) -> None:
    before, after, otp = (SmsClient(stack.redis_url, caller=caller) for caller in ("before", "after", "otp"))
    engine = open_engine(stack.ledger_url)
    with engine.begin() as connection:
        gates.pause(connection, "default", reason="a test", by="test", now=datetime.now(UTC))
    # Taken in while no rate was set: calls of fifty, and one of them is larger than what the bucket holds from now on.
    before.send([f"139{n:08}" for n in range(50)], "您的订单已发货")
    stack.wait_for("the calls of fifty", lambda: largest_calls(stack) == {"before": 50})
    stack.stop("worker")
    stack.environment["SMS_MOBILE_RATE"] = rate
    stack.start("worker")
    after.send([f"138{n:08}" for n in range(150)], "您的包裹已到")
    stack.wait_for("calls of what the rate has room for", lambda: "after" in largest_calls(stack))
    assert largest_calls(stack)["after"] == (3 if rate == "20" else 1)

    with engine.begin() as connection:
        gates.resume(connection, "default", by="test", now=datetime.now(UTC))
    engine.dispose()
    stack.wait_for("the first call", lambda: arrived(stack))
    sent: dict[str, float] = {}
    for n in range(OTPS):
        sent[f"137{n:08}"] = time.time()
        otp.send(f"137{n:08}", f"您的验证码是{n:06}", lane="otp")
        stack.wait_for(f"OTP {n}", lambda: sent.keys() <= arrived(stack).keys())
    waits = [arrived(stack)[mobile] - at for mobile, at in sent.items()]
    assert max(waits) < longest_seconds, waits


@pytest.mark.timeout(240)
def test_a_call_that_is_larger_than_the_bucket_of_its_account_is_made_all_the_same(stack: Stack) -> None:
    client = SmsClient(stack.redis_url)
    engine = open_engine(stack.ledger_url)
    with engine.begin() as connection:
        gates.pause(connection, "default", reason="a test", by="test", now=datetime.now(UTC))
    client.send([f"139{n:08}" for n in range(50)], "您的订单已发货")
    stack.wait_for("the call of fifty", lambda: 50 in largest_calls(stack).values())
    stack.stop("worker")
    stack.environment["SMS_MOBILE_RATE"] = "20"
    stack.start("worker")
    with engine.begin() as connection:
        gates.resume(connection, "default", by="test", now=datetime.now(UTC))
    engine.dispose()
    stack.wait_for("the call of fifty at the gateway", lambda: len(arrived(stack)) == 50)


@pytest.mark.timeout(240)
def test_when_the_worker_that_waits_for_tokens_is_killed_its_lane_goes_on_at_its_rate(stack: Stack) -> None:
    stack.stop("worker")
    stack.environment["SMS_RATE"] = "20"
    stack.start("worker")
    SmsClient(stack.redis_url).send_many({"to": f"138{n:08}", "content": f"您的订单{n}已发货"} for n in range(1000))
    # By then it has used up what tokens there were, and waits for each.
    stack.wait_for("calls", lambda: len(arrived(stack)) > 40)
    stack.stop("worker", kill=True)
    stack.start("worker")
    before = len(arrived(stack))
    stack.wait_for("the first call", lambda: len(arrived(stack)) > before)
    # The killed one was thought to wait for half a minute, in which ticks alone had a call or two made each second.
    stack.wait_for("calls", lambda: len(arrived(stack)) > before + 100, seconds=10)

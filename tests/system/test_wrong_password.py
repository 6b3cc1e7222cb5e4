"""A wrong password: the account's gate closes, no message is lost, and all go out once the password is right."""

import time
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy import Engine, func, select, update

from worker.client import SmsClient
from worker.devstack.stack import ACCOUNT, Stack, running_stack, start_worker
from worker.domain.lane import CALLS_AT_ONCE
from worker.domain.outcome import BACKOFF_FIRST
from worker.ledger import tables as t
from worker.ledger.engine import open_engine, reading
from worker.ledger.sending import gates

MESSAGES = 500
CONCURRENCY = 4
AT_ONCE = CONCURRENCY * CALLS_AT_ONCE


def states(ledger: Engine) -> Counter[str]:
    with reading(ledger) as connection:
        rows = connection.execute(select(t.submissions.c.state, func.count()).group_by(t.submissions.c.state))
        return Counter(dict(rows.all()))


def is_open(ledger: Engine) -> bool:
    with reading(ledger) as connection:
        return all(gate.is_open for gate in gates.gates(connection))


def let_a_minute_pass(ledger: Engine) -> None:
    """Sets the time of the next probe of a closed gate to now."""
    with ledger.begin() as connection:
        connection.execute(update(t.accounts).where(t.accounts.c.gate == "closed").values(gate_until=datetime.now(UTC)))


@pytest.mark.timeout(180)
def test_all_messages_wait_and_go_out_once_the_password_is_right(tmp_path: Path) -> None:
    wrong = {"SMS_PASSWORD": "wrong"}
    with running_stack(tmp_path / "stack", concurrency=CONCURRENCY, settings=wrong) as stack:
        ledger = open_engine(stack.ledger_url)
        SmsClient(stack.redis_url).send_many(
            {"to": f"139{number:08}", "content": f"第 {number} 条"} for number in range(MESSAGES)
        )
        stack.wait_for("the gate is closed", lambda: not is_open(ledger))
        stack.wait_for("all wait", lambda: _waiting(ledger) == MESSAGES)
        # Only the calls under way when the first came back were made: not one call for each message.
        refused = stack.ask_simulator("summary")["calls_refused"]
        assert 0 < refused <= AT_ONCE
        assert states(ledger)["held"] == refused
        # Submissions that are due again do not try the closed gate either.
        until = time.monotonic() + BACKOFF_FIRST.total_seconds() + 1
        stack.wait_for("them due again", lambda: time.monotonic() > until)
        assert stack.ask_simulator("summary")["calls_refused"] == refused
        assert stack.ask_simulator("summary")["calls_taken"] == 0
        assert _waiting(ledger) == MESSAGES

        # A probe with the same wrong password is one call.
        let_a_minute_pass(ledger)
        stack.wait_for("a probe", lambda: stack.ask_simulator("summary")["calls_refused"] > refused, seconds=5)
        stack.wait_for("all wait", lambda: _waiting(ledger) == MESSAGES)
        assert stack.ask_simulator("summary")["calls_refused"] == refused + 1
        assert not is_open(ledger)

        stack.stop("worker")
        stack.environment["SMS_PASSWORD"] = ACCOUNT["SMS_PASSWORD"]
        start_worker(stack, "worker", CONCURRENCY)
        let_a_minute_pass(ledger)
        stack.wait_for("a probe opens the gate", lambda: is_open(ledger), seconds=20)
        stack.wait_for("all are accepted", lambda: states(ledger) == {"accepted": MESSAGES}, seconds=20)
        _each_was_taken_once(stack)
        ledger.dispose()


def _waiting(ledger: Engine) -> int:
    counts = states(ledger)
    return counts["held"] + counts["queued"]


def _each_was_taken_once(stack: Stack) -> None:
    calls = stack.ask_simulator(f"calls?limit={2 * MESSAGES}")["calls"]
    taken = Counter(mobile for call in calls for mobile in call["mobiles"])
    assert taken == Counter({f"139{number:08}": 1 for number in range(MESSAGES)})

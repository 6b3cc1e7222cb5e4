"""A wrong password: the account's gate closes, nothing is burnt, and all goes out once it is put right."""

import time
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy import Engine, func, select, update

from worker.cli.stack import ACCOUNT, Stack, running_stack, start_worker
from worker.client import SmsClient
from worker.domain.status import State
from worker.ledger import gates
from worker.ledger.engine import open_engine, reading
from worker.ledger.tables import submissions

MESSAGES = 500


def states(ledger: Engine) -> Counter[str]:
    with reading(ledger) as connection:
        rows = connection.execute(select(submissions.c.state, func.count()).group_by(submissions.c.state))
        return Counter(dict(rows.all()))


def is_open(ledger: Engine) -> bool:
    with reading(ledger) as connection:
        return all(gate.is_open for gate in gates.gates(connection))


def let_a_minute_pass(ledger: Engine) -> None:
    """What the gate makes wait is due now."""
    now = datetime.now(UTC)
    with ledger.begin() as connection:
        connection.execute(update(gates.accounts).where(gates.accounts.c.gate == "closed").values(gate_until=now))
        connection.execute(update(submissions).where(submissions.c.state == State.HELD).values(due_at=now))


@pytest.mark.timeout(180)
def test_all_messages_wait_and_go_out_once_the_password_is_right(tmp_path: Path) -> None:
    with running_stack(tmp_path / "stack", settings={"SMS_PASSWORD": "wrong"}) as stack:
        ledger = open_engine(stack.ledger_url)
        SmsClient(stack.redis_url).send_many(
            {"to": f"139{number:08}", "content": f"第 {number} 条"} for number in range(MESSAGES)
        )
        stack.wait_for("all are held", lambda: states(ledger) == {"held": MESSAGES})
        assert not is_open(ledger)
        assert stack.ask_simulator("summary")["calls_taken"] == 0
        # Those that were under way when the first came back, and a probe: not one call for each message.
        refused_before = stack.ask_simulator("summary")["calls_refused"]
        assert refused_before < 50

        stack.stop("worker")
        stack.environment["SMS_PASSWORD"] = ACCOUNT["SMS_PASSWORD"]
        start_worker(stack, "worker", 16)
        began = time.monotonic()
        let_a_minute_pass(ledger)
        stack.wait_for("a probe opens the gate", lambda: is_open(ledger))
        let_a_minute_pass(ledger)
        stack.wait_for("all are accepted", lambda: states(ledger) == {"accepted": MESSAGES})
        assert time.monotonic() - began < 60
        _each_was_taken_once(stack)
        ledger.dispose()


def _each_was_taken_once(stack: Stack) -> None:
    calls = stack.ask_simulator(f"calls?limit={2 * MESSAGES}")["calls"]
    taken = Counter(mobile for call in calls for mobile in call["mobiles"])
    assert len(taken) == MESSAGES
    assert set(taken.values()) == {1}

"""A rolling deploy that adds an account: workers with old settings run beside workers that know the account."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from redis import Redis
from sqlalchemy import func, select
from test_send_by_name import arrives, send_by_name

from worker.devstack.stack import Stack, running_stack, start_worker
from worker.domain.lane import UPKEEP_QUEUE
from worker.domain.read_message import read_message
from worker.ledger import tables as t
from worker.ledger.engine import open_engine, reading
from worker.redis_store import bells, intake, intake_keys, intake_parked

SHOP = {"epr_id": 2, "user_id": "shop", "password": "shop-password"}
NOTHING = dict.fromkeys(intake_keys.PLACES, 0)


@pytest.fixture
def stack(tmp_path: Path) -> Iterator[Stack]:
    """A system whose gateway knows the account `shop`, and whose worker does not."""
    (tmp_path / "accounts.json").write_text(json.dumps([SHOP]))
    options = ["--accounts", str(tmp_path / "accounts.json")]
    with running_stack(tmp_path / "stack", concurrency=4, simulator_options=options) as stack:
        yield stack


def test_a_worker_gives_a_probe_of_an_account_that_it_does_not_have_to_another(stack: Stack) -> None:
    stack.stop("beat")
    with Redis.from_url(stack.redis_url) as redis:
        bells.ring(redis, "sms.probe", 999, queue=UPKEEP_QUEUE)
        stack.wait_for("the worker to take it", lambda: not redis.llen(UPKEEP_QUEUE))
        # This test is the other worker.
        taken: Any = redis.brpop([UPKEEP_QUEUE], timeout=10)
        assert json.loads(taken[1])["headers"]["task"] == "sms.probe"


@pytest.mark.timeout(180)
def test_a_worker_with_old_settings_refuses_no_message_of_a_new_account(stack: Stack, tmp_path: Path) -> None:
    fields = {"to": "13800138001", "content": "您的订单已发货", "account": "shop"}
    put = read_message(fields, now=datetime.now(UTC), default_id="new", accounts=None, caller="")
    with Redis.from_url(stack.redis_url) as redis:
        intake.put(redis, [put], now=datetime.now(UTC))
        (by_name,) = send_by_name(stack, tmp_path, {"message": fields | {"to": "13800138002"}})
        # Each in the lane of its way in: none is named, and the one by name came by the queue sms.otp.
        stack.wait_for(
            "both seen to wait",
            lambda: (
                intake_parked.counts(redis) == {"shop": 2} and intake.depth(redis) == {**NOTHING, "notice": 1, "otp": 1}
            ),
        )

        (tmp_path / "sms.toml").write_text(
            "[accounts.shop]\n" + "".join(f"{name} = {value!r}\n" for name, value in SHOP.items())
        )
        stack.environment["SMS_CONFIG"] = str(tmp_path / "sms.toml")
        # As in a rolling deploy: the old worker is at work beside the new one.
        start_worker(stack, "worker2", 4)
        ledger = open_engine(stack.ledger_url)
        for message_id in ("new", by_name):
            arrives(stack, ledger, message_id)
        assert intake.depth(redis) == NOTHING
    with reading(ledger) as connection:
        assert connection.execute(select(func.count()).select_from(t.refused)).scalar_one() == 0
    ledger.dispose()

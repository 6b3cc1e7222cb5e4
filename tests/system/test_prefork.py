"""A worker with Celery's default pool: processes instead of threads."""

import sys
from pathlib import Path

import pytest
from redis import Redis
from stack_probe import states

from worker.client import SmsClient
from worker.devstack.stack import running_stack
from worker.domain.lane import CALLS_AT_ONCE, QUEUES
from worker.redis_store import bells, heartbeat

CONCURRENCY = 2


@pytest.mark.timeout(180)
def test_a_prefork_worker_makes_as_many_calls_at_once_as_one_with_threads(tmp_path: Path) -> None:
    with running_stack(tmp_path / "stack", concurrency=1) as stack, Redis.from_url(stack.redis_url) as redis:
        stack.stop("worker")
        options = [
            "-Q",
            ",".join(QUEUES),
            "--pool",
            "prefork",
            "--concurrency",
            str(CONCURRENCY),
            "--loglevel",
            "WARNING",
        ]
        stack.start("prefork", sys.executable, "-m", "celery", "-A", "worker.app", "worker", *options)
        stack.ask_simulator("behave", {"default": {"do": "hang_before", "seconds": 60}})
        SmsClient(stack.redis_url).send_many(
            {"to": f"139{number:08}", "content": f"第 {number} 条"}
            for number in range(10 * CONCURRENCY * CALLS_AT_ONCE)
        )
        stack.wait_for("calls", lambda: states(stack)["submitting"] >= CONCURRENCY * CALLS_AT_ONCE, seconds=30)
        for _ in range(50):
            bells.send(redis, "sms.work", "notice", queue="sms.notice")
        stack.wait_for("each process to be woken", lambda: not redis.llen("sms.notice"))
        tick = heartbeat.last_tick(redis)
        stack.wait_for("another tick", lambda: heartbeat.last_tick(redis) != tick)
        assert states(stack)["submitting"] == CONCURRENCY * CALLS_AT_ONCE

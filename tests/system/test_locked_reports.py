"""Somebody locks the reports, as CREATE INDEX does: pushes wait, and keep no thread and no connection from anything else."""

import time
from pathlib import Path
from urllib.request import Request, build_opener

import pytest
from redis import Redis
from sqlalchemy import text
from stack_probe import states

from worker.client import SmsClient
from worker.devstack.stack import running_stack
from worker.ledger.engine import open_engine
from worker.redis_store import heartbeat

CONCURRENCY = 4
PUSHES = 5 * CONCURRENCY
PUSH = (
    "<returnForm><type>1</type><count>1</count><list><pushStatusForm><eprId>1</eprId><mobile>13800138000</mobile>"
    "<msgId>{}</msgId><status>1</status><userId>sword123</userId></pushStatusForm></list></returnForm>"
)


@pytest.mark.long("measures how long a code waits while the reports are locked")
def test_while_the_reports_are_locked_codes_go_out_and_the_tick_is_done(tmp_path: Path, postgres_url: str) -> None:
    with running_stack(tmp_path, ledger_url=postgres_url, concurrency=CONCURRENCY) as stack:
        engine = open_engine(postgres_url)
        with Redis.from_url(stack.redis_url) as redis, engine.begin() as other:
            other.execute(text("LOCK TABLE reports IN SHARE MODE"))
            for number in range(PUSHES):
                push = Request(stack.environment["SIM_PUSH_URL"], PUSH.format(number).encode())
                build_opener().open(push, timeout=10).close()
            stack.wait_for("pushes in hand", lambda: "is put back" in stack.log("worker").read_text())
            begun = time.time()
            SmsClient(stack.redis_url).send("13900139000", "您的验证码是 123456", lane="otp")
            stack.wait_for("the code", lambda: states(stack)["accepted"], seconds=2)
            stack.wait_for(
                "ticks", lambda: (tick := heartbeat.last_tick(redis)) and tick.timestamp() > begun + 1, seconds=4
            )
            # It ends us after ten seconds in which nothing is asked for; that the lock is held still is what was tested.
            assert other.execute(text("SELECT count(*) FROM reports")).scalar() == 0
        engine.dispose()

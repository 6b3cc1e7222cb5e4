"""A worker on a machine whose clock is wrong takes nothing, expires nothing, says so, and goes on once the clock is right.

What an app sends on such a machine carries the time of Redis."""

import importlib.util
import json
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from processes import SMS
from redis import Redis
from sqlalchemy import func, select
from stack_probe import simulator, states

from worker.client import SmsClient
from worker.devstack.stack import Stack, running_stack
from worker.domain.lane import QUEUES
from worker.ledger import tables as t
from worker.ledger.engine import open_engine, reading
from worker.redis_store import intake

AN_HOUR_AHEAD = "+3600"
AN_HOUR_BEHIND = "-3600"
RIGHT = "+0"

pytestmark = [
    pytest.mark.long("waits a dozen times until clocks are looked at again"),
    pytest.mark.beside,
    pytest.mark.timeout(180),
]


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with running_stack(tmp_path_factory.mktemp("stack"), concurrency=4) as running:
        yield running


def set_clock(stack: Stack, offset: str) -> None:
    (stack.directory / "clock").write_text(offset)


def other_clock(stack: Stack) -> list[str]:
    """Variables that give a process the clock that `set_clock` sets: libfaketime answers each look at the clock."""
    package = importlib.util.find_spec("libfaketime")
    assert package is not None
    assert package.origin is not None
    library = Path(package.origin).parent / "vendor" / "libfaketime" / "src" / "libfaketime.so.1"
    variables = {
        "LD_PRELOAD": str(library),
        "FAKETIME_TIMESTAMP_FILE": str(stack.directory / "clock"),
        "FAKETIME_NO_CACHE": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
    }
    return [f"{name}={value}" for name, value in variables.items()]


def start_worker_on_another_machine(stack: Stack) -> None:
    options = ["-Q", ",".join(QUEUES), "--pool", "threads", "--concurrency", "4", "--loglevel", "WARNING"]
    alone = ["--without-mingle", "--without-gossip", "--hostname", "elsewhere@%h"]
    celery = [sys.executable, "-m", "celery", "-A", "worker.app", "worker"]
    stack.start("elsewhere", "env", *other_clock(stack), *celery, *options, *alone)


def clocks(stack: Stack) -> tuple[str, str]:
    """The state of doctor's check of the clocks, and its finding."""
    run = subprocess.run([*SMS, "doctor", "--json"], env=stack.environment, capture_output=True, text=True, check=False)
    (clock_check,) = [check for check in json.loads(run.stdout) if check["name"] == "clocks"]
    return clock_check["state"], clock_check["found"]


def test_a_worker_an_hour_ahead_leaves_everything_alone_until_its_clock_is_right(stack: Stack) -> None:
    set_clock(stack, AN_HOUR_AHEAD)
    stack.stop("worker")
    start_worker_on_another_machine(stack)
    log = stack.log("elsewhere")
    client = SmsClient(stack.redis_url)
    sent = client.send("13800138000", "您的验证码是 123456", lane="otp")
    stack.wait_for("it to say so", lambda: " s ahead" in log.read_text(), seconds=25)
    assert clocks(stack)[0] == "wrong"
    assert " s ahead" in clocks(stack)[1]
    with Redis.from_url(stack.redis_url) as redis:
        assert intake.find(redis, sent)
    assert states(stack) == {}

    set_clock(stack, RIGHT)
    stack.wait_for("the call", lambda: simulator(stack, "mobiles_taken") == 1, seconds=30)
    assert set(states(stack)) <= {"submitting", "accepted"}
    assert clocks(stack)[0] == "ok"
    assert log.read_text().count("clock is") == 2


def test_a_worker_whose_clock_goes_wrong_leaves_the_work_to_the_others(stack: Stack) -> None:
    stack.ask_simulator("reset", {})
    stack.start("worker")
    set_clock(stack, AN_HOUR_AHEAD)
    log = stack.log("elsewhere")
    before = log.read_text().count(" s ahead")
    client = SmsClient(stack.redis_url)
    for n in range(20):
        client.send(f"1380000{n:04}", f"您的验证码是 {n}", lane="otp")
    stack.wait_for("it noticed", lambda: log.read_text().count(" s ahead") > before, seconds=30)
    stack.wait_for("the calls", lambda: simulator(stack, "mobiles_taken") == 20, seconds=60)
    assert "expired" not in states(stack)


@pytest.mark.parametrize("offset", [AN_HOUR_AHEAD, AN_HOUR_BEHIND])
def test_what_an_app_sends_whose_clock_is_wrong_is_worth_sending_for_as_long_as_any(stack: Stack, offset: str) -> None:
    stack.ask_simulator("reset", {})
    # Also that of the worker elsewhere, where it runs: the other one calls.
    set_clock(stack, offset)
    send = "import sys; from worker.client import SmsClient; SmsClient(sys.argv[1]).send('13800138001', '123456', lane='otp')"
    app = subprocess.run(
        ["env", *other_clock(stack), sys.executable, "-c", send, stack.redis_url],
        capture_output=True,
        text=True,
        check=True,
    )
    assert "of that of Redis, whose time is used until it is put right (NTP)" in app.stderr
    stack.wait_for("the call", lambda: simulator(stack, "mobiles_taken") == 1, seconds=30)
    engine = open_engine(stack.ledger_url)
    with reading(engine) as connection:
        created_at = connection.execute(select(func.max(t.messages.c.created_at))).scalar_one()
    engine.dispose()
    assert abs(datetime.now(UTC) - created_at) < timedelta(minutes=1)


def test_a_push_that_comes_to_a_callback_app_whose_clock_is_wrong_carries_the_right_time(stack: Stack) -> None:
    set_clock(stack, AN_HOUR_AHEAD)
    stack.stop("callback")
    variables = dict(variable.split("=", 1) for variable in other_clock(stack))
    stack.environment |= variables
    stack.start("callback")
    for name in variables:
        del stack.environment[name]
    engine = open_engine(stack.ledger_url)
    before = datetime.now(UTC)
    SmsClient(stack.redis_url).send("13800138002", "您好")

    def received_at() -> datetime | None:
        with reading(engine) as connection:
            newest: datetime | None = connection.execute(select(func.max(t.pushes.c.received_at))).scalar_one()
        return newest

    newest = stack.wait_for(
        "its report", lambda: max(received_at() or before, before) > before and received_at(), seconds=30
    )
    assert newest < datetime.now(UTC) + timedelta(minutes=1)
    engine.dispose()

"""One worker for everything, and more to send than it can: OTPs, pushes and ticks have their turn all the same."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from urllib.request import Request, build_opener

import pytest
from redis import Redis
from sqlalchemy import Engine, func, select

from worker import bells, intake
from worker.cli.stack import Stack, running_stack
from worker.client import SmsClient
from worker.domain.lane import LANES, QUEUES
from worker.ledger.engine import open_engine, reading
from worker.ledger.tables import reports, submissions

CONCURRENCY = 4
SINGLES_AT_ONCE = 4
MANY = 20_000
PROBES = 12
SECONDS_OF_A_PROBE = 1.0
SOON_SECONDS = 5
OTP_SECONDS = 2
"""A second is the promise; the machine of the tests has its cores full of what floods it."""
SETTINGS = {"SMS_CONNECT_TIMEOUT": "2", "SMS_READ_TIMEOUT": "20"}
PUSH = (
    "<returnForm><type>1</type><count>1</count><list><pushStatusForm><eprId>1</eprId><mobile>13800138000</mobile>"
    "<msgId>{}</msgId><status>1</status><userId>sword123</userId></pushStatusForm></list></returnForm>"
)


@pytest.fixture
def flooded(tmp_path_factory: pytest.TempPathFactory, postgres_url: str) -> Iterator[Stack]:
    """A worker for all queues whose gateway takes ten seconds for an answer, and notices that come faster than it can send them."""
    directory = tmp_path_factory.mktemp("stack")
    with running_stack(directory, ledger_url=postgres_url, concurrency=CONCURRENCY, settings=SETTINGS) as stack:
        stack.ask_simulator("behave", {"latency_ms": 10_000})
        client = SmsClient(stack.redis_url)
        client.send_many({"to": f"138{n:08}", "content": f"您的订单{n}已发货。"} for n in range(MANY))
        with singles(stack.redis_url):
            yield stack


@contextmanager
def singles(redis_url: str) -> Iterator[None]:
    """Notices that are sent one by one, as fast as can be, within the block."""
    over = threading.Event()

    def send_on(thread: int) -> None:
        client = SmsClient(redis_url)
        n = 0
        while not over.is_set():
            n += 1
            client.send(f"139{thread}{n:07}", f"您的订单{thread}{n}已发货。")
            # About what a backend app sends; without it this test would be about the share of the cores that it takes.
            over.wait(0.005)

    threads = [threading.Thread(target=send_on, args=(n,)) for n in range(SINGLES_AT_ONCE)]
    for thread in threads:
        thread.start()
    yield
    over.set()
    for thread in threads:
        thread.join()


def test_a_flood_keeps_no_otp_no_push_and_no_tick_waiting_and_few_bells_wait(flooded: Stack) -> None:
    engine = open_engine(flooded.ledger_url)
    client = SmsClient(flooded.redis_url)
    post = build_opener().open
    push_url = f"{flooded.callback_url}/push/{flooded.environment['SMS_PUSH_TOKEN']}"
    sent: dict[str, float] = {}
    pushed: dict[int, float] = {}
    ages: list[float] = []
    with Redis.from_url(flooded.redis_url) as redis:
        for n in range(PROBES):
            begun = time.monotonic()
            mobile = f"137{n:08}"
            sent[mobile] = time.time()
            client.send(mobile, f"您的验证码是 {n:06}", lane="otp")
            pushed[n + 1] = time.monotonic()
            post(Request(push_url, PUSH.format(n + 1).encode()), timeout=10).close()
            while time.monotonic() < begun + SECONDS_OF_A_PROBE or n + 1 not in applied(engine):
                flooded.check()
                ages.append((datetime.now(UTC) - (intake.last_tick(redis) or datetime.now(UTC))).total_seconds())
                assert max(redis.llen(queue) for queue in QUEUES) <= bells.FEW
                assert max(ages) < SOON_SECONDS, "no tick"
                assert time.monotonic() - pushed[n + 1] < SOON_SECONDS, "a push is not applied"
                time.sleep(0.02)
        assert waits(engine) > CONCURRENCY, "it was no flood"
    arrived = {
        call["mobiles"][0]: call["arrived_at"]
        for call in flooded.ask_simulator("calls?limit=1000")["calls"]
        if call["mobiles"][0] in sent
    }
    assert arrived.keys() == sent.keys()
    assert max(arrived[mobile] - at for mobile, at in sent.items()) < OTP_SECONDS
    engine.dispose()


def applied(engine: Engine) -> set[int]:
    with reading(engine) as connection:
        return set(connection.execute(select(reports.c.msg_id).where(reports.c.msg_id <= PROBES)).scalars())


def waits(engine: Engine) -> int:
    queued = select(func.count()).where(submissions.c.lane == LANES["notice"].name, submissions.c.state == "queued")
    with reading(engine) as connection:
        return connection.execute(queued).scalar_one()

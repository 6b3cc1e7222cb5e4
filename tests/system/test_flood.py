"""One worker for everything, and more messages than it can send: OTPs, pushes and ticks still have their turn."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from urllib.request import Request, build_opener
from zoneinfo import ZoneInfo

import pytest
from redis import Redis
from sqlalchemy import Engine, func, select

from worker.campaigns.draft import draft, start_time
from worker.campaigns.feed import AHEAD
from worker.campaigns.spec import CampaignSpec
from worker.client import SmsClient
from worker.devstack.stack import Stack, running_stack
from worker.domain.campaigns.audience import Member, Origin
from worker.domain.lane import LANES, QUEUES
from worker.ledger import tables as t
from worker.ledger.campaigns import audiences, campaigns
from worker.ledger.engine import open_engine, reading
from worker.redis_store import bells, heartbeat

pytestmark = pytest.mark.long("measures how long codes and pushes wait behind 20,000 messages")

CONCURRENCY = 4
SINGLES_AT_ONCE = 4
MANY = 20_000
PROBES = 12
SECONDS_OF_A_PROBE = 1.0
SOON_SECONDS = 5
OTP_SECONDS = 2
"""The promise is a second, but the flood keeps all cores of the test machine busy."""
SETTINGS = {"SMS_CONNECT_TIMEOUT": "2", "SMS_READ_TIMEOUT": "20"}
CAMPAIGNS = 40
MEMBERS = 3_000
"""More members than are fed ahead of need."""
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
    """Sends notices one by one within the block, as fast as possible."""
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
            post_push(flooded, n + 1)
            while time.monotonic() < begun + SECONDS_OF_A_PROBE or not is_applied(engine, n + 1):
                flooded.check()
                ages.append((datetime.now(UTC) - (heartbeat.last_tick(redis) or datetime.now(UTC))).total_seconds())
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


def is_applied(engine: Engine, msg_id: int) -> bool:
    with reading(engine) as connection:
        return connection.execute(select(t.reports.c.msg_id).where(t.reports.c.msg_id == msg_id)).first() is not None


def waits(engine: Engine) -> int:
    queued = select(func.count()).where(t.submissions.c.lane == LANES["notice"].name, t.submissions.c.state == "queued")
    with reading(engine) as connection:
        return connection.execute(queued).scalar_one()


def test_forty_campaigns_that_begin_at_once_keep_no_push_waiting_with_one_thread(
    tmp_path: Path, postgres_url: str
) -> None:
    with running_stack(tmp_path, ledger_url=postgres_url, concurrency=1, settings=SETTINGS) as stack:
        engine = open_engine(stack.ledger_url)
        start_campaigns(engine)
        stack.wait_for("the first messages", lambda: submission_count(engine) > 0)
        number = 0
        while submission_count(engine) < CAMPAIGNS * AHEAD:
            number += 1
            post_push(stack, number)
            stack.wait_for("the push applied", lambda number=number: is_applied(engine, number), seconds=SOON_SECONDS)
        assert number > 1, "all was made before the first push was applied"
        stack.check()
        engine.dispose()


def start_campaigns(engine: Engine) -> None:
    """Starts campaigns with a text for each member, all due now."""
    now = datetime.now(UTC)
    people = [Member(line, f"138{line:08}", (f"138{line:08}", f"客户{line}")) for line in range(2, MEMBERS + 2)]
    with engine.begin() as connection:
        audience_id = audiences.begin(
            connection, "people", Origin("p.csv", ("mobile", "姓名"), "mobile"), by="test", now=now
        )
        assert audience_id is not None
        audiences.add(connection, audience_id, people)
        audiences.finish(connection, audience_id, good=len(people), repeats=0, refused=0)
        for number in range(CAMPAIGNS):
            spec = CampaignSpec(f"campaign-{number}", "people", "{{ 姓名 }}，您的订单已发货", lane="notice")
            draft(connection, spec, lanes=LANES, zones={"default": ZoneInfo("Asia/Shanghai")}, by="test", now=now)
            campaign = campaigns.find(connection, spec.name)
            assert campaign is not None
            assert campaigns.start(connection, campaign.id, next_at=start_time(campaign, now=now), by="test", now=now)


def post_push(stack: Stack, msg_id: int) -> None:
    url = f"{stack.callback_url}/push/{stack.environment['SMS_PUSH_TOKEN']}"
    build_opener().open(Request(url, PUSH.format(msg_id).encode()), timeout=10).close()


def submission_count(engine: Engine) -> int:
    with reading(engine) as connection:
        return connection.execute(select(func.count()).select_from(t.submissions)).scalar_one()

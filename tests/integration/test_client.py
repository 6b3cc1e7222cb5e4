"""The client of backend apps, on a real Valkey: what is enqueued, and what is refused before anything is."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta

import pytest
from redis import Redis

from worker.client import PUT_AT_ONCE, Accounts, KeyUsed, NotPermitted, Refused, SmsClient, Unavailable
from worker.domain.lane import LANES, QUEUES
from worker.domain.read_message import read_message
from worker.redis_store import accounts as announced
from worker.redis_store import intake, intake_keys
from worker.redis_store.headroom import Headroom, memory_share


def tasks(redis: Redis, queue: str) -> list[dict[str, object]]:
    return [json.loads(raw) for raw in redis.lrange(queue, 0, -1)]


def everything(redis: Redis) -> dict[str, int]:
    return {queue: redis.llen(queue) for queue in QUEUES} | intake.depth(redis)


NOTHING = dict.fromkeys(QUEUES, 0) | dict.fromkeys(intake_keys.PLACES, 0)


@pytest.mark.parametrize("lane", LANES)
def test_a_message_lies_in_the_intake_and_its_task_in_the_queue_of_its_lane_alone(
    redis: Redis, redis_url: str, lane: str
) -> None:
    message_id = SmsClient(redis_url).send("+86 138 0013 8000", "您好", lane=lane, metadata={"order": 7})
    message = intake.find(redis, message_id)
    assert message is not None
    assert (message.to, message.content, message.metadata) == (("13800138000",), "您好", {"order": 7})
    assert everything(redis) == NOTHING | {lane: 1, LANES[lane].queue: 1}


def test_no_text_and_no_mobile_stand_in_the_task(redis: Redis, redis_url: str) -> None:
    SmsClient(redis_url).send("13800138000", "您的验证码是 246810", lane="otp")
    (raw,) = redis.lrange("sms.otp", 0, -1)
    headers = tasks(redis, "sms.otp")[0]["headers"]
    assert b"13800138000" not in raw
    assert "246810" not in json.dumps(headers)


def test_every_fault_of_a_message_is_told_and_nothing_is_enqueued(redis: Redis, redis_url: str) -> None:
    with pytest.raises(Refused, match=r"to\[1\] .* too short.*content is empty.*lane 'express' is unknown"):
        SmsClient(redis_url).send(["13800138000", "138"], "", lane="express")
    assert everything(redis) == NOTHING


def test_of_many_messages_none_is_enqueued_if_one_is_refused(redis: Redis, redis_url: str) -> None:
    good = {"to": "13800138000", "content": "您好"}
    with pytest.raises(Refused) as refused:
        SmsClient(redis_url).send_many([good, good | {"content": ""}, good | {"to": "1"}])
    assert [fault.field for fault in refused.value.faults] == ["[1].content", "[2].to[0]"]
    assert everything(redis) == NOTHING


def test_an_account_that_the_workers_do_not_know_is_refused(redis: Redis, redis_url: str) -> None:
    client = SmsClient(redis_url)
    announced.announce(redis, ["default", "shop"], now=datetime.now(UTC))
    client.send("13800138000", "您好", account="shop")
    with pytest.raises(Refused, match="account 'other' is unknown; the accounts are: default, shop"):
        client.send("13800138000", "您好", account="other")
    announced.announce(redis, ["default", "shop", "other"], now=datetime.now(UTC))
    client.send("13800138000", "您好", account="other")


def test_an_account_that_was_removed_is_known_no_longer_a_minute_later(redis: Redis) -> None:
    now = [0.0]
    accounts = Accounts(redis, lambda: now[0])
    announced.announce(redis, ["default", "shop"], now=datetime.now(UTC))
    assert accounts.names("shop") == {"default", "shop"}
    announced.announce(redis, ["default"], now=datetime.now(UTC) + timedelta(minutes=11))
    now[0] = 59
    assert accounts.names("shop") == {"default", "shop"}
    now[0] = 60
    assert accounts.names("shop") == {"default"}


def test_the_same_key_is_one_message_also_when_a_worker_has_taken_it_in(redis: Redis, redis_url: str) -> None:
    client = SmsClient(redis_url)
    first = client.send("13800138000", "一", key="order-1")
    assert client.send("+86 138 0013 8000", "一", key="order-1", valid_for=60) == first
    assert intake.depth(redis)["notice"] == 1
    intake.remove(redis, "notice", [first])
    assert SmsClient(redis_url).send("13800138000", "一", key="order-1") == first
    assert client.send_many([{"to": "13800138000", "content": "一", "key": "order-1"}] * 2) == [first, first]
    assert intake.depth(redis)["notice"] == 0


def test_the_same_key_for_another_message_is_an_error_that_shows_both(redis: Redis, redis_url: str) -> None:
    client = SmsClient(redis_url)
    first = client.send("13800138000", "您的验证码是 123456", key="order-1", lane="otp")
    intake.remove(redis, "otp", [first])
    for other in ({"content": "您的验证码是 654321"}, {"to": "13900139000"}, {"lane": "notice"}):
        fields = {"to": "13800138000", "content": "您的验证码是 123456", "lane": "otp", "key": "order-1"} | other
        with pytest.raises(
            KeyUsed, match=r"key was used for another message .* first otp to \*\*\*\*8000, 13"
        ) as raised:
            client.send(**fields)
        assert first in str(raised.value)
        assert not {"123456", "654321", "13800138000", "13900139000"} & set(re.split(r"[^0-9]", str(raised.value)))
    assert everything(redis) == NOTHING | {"sms.otp": 1}


def test_a_key_is_of_its_account_and_of_its_caller_if_that_has_a_name(redis: Redis, redis_url: str) -> None:
    ids = {
        SmsClient(redis_url).send("13800138000", "一", key="k"),
        SmsClient(redis_url, caller="shop").send("13800138000", "二", key="k"),
        SmsClient(redis_url, caller="web").send("13800138000", "三", key="k"),
        SmsClient(redis_url, caller="web").send("13800138000", "四", key="k", account="second"),
    }
    assert len(ids) == 4
    assert intake.depth(redis)["notice"] == 4
    message = intake.find(redis, SmsClient(redis_url, caller="web").send("13800138000", "三", key="k"))
    assert message is not None
    assert (message.content, message.caller) == ("三", "web")


def test_of_many_messages_none_is_enqueued_if_the_key_of_one_is_anothers(redis: Redis, redis_url: str) -> None:
    client = SmsClient(redis_url)
    client.send("13800138000", "一", key="k7")
    many = [{"to": "13800138000", "content": f"第 {n} 条", "key": f"k{n}"} for n in range(PUT_AT_ONCE + 10)]
    for batch in (many[:10], [many[8], many[9], *many[20:], many[7]]):
        with pytest.raises(KeyUsed) as raised:
            client.send_many(batch)
        assert [fault.field for fault in raised.value.faults] == [f"[{batch.index(many[7])}].key"]
    with pytest.raises(KeyUsed) as raised:
        client.send_many([*many[10:], many[11] | {"content": "别的"}])
    assert [fault.field for fault in raised.value.faults] == [f"[{PUT_AT_ONCE}].key"]
    assert intake.depth(redis)["notice"] == 1


def test_a_key_that_is_kept_no_longer_is_free_again(redis: Redis) -> None:
    first, later = (
        read_message(
            {"to": "13800138000", "content": content, "key": "k"}, now=datetime.now(UTC), default_id="", accounts=None
        )
        for content in ("一", "二")
    )
    now = datetime.now(UTC)
    [first_id] = intake.put(redis, [first], now=now)
    with pytest.raises(KeyUsed):
        intake.put(redis, [later], now=now + timedelta(days=3))
    # As if the days had passed: that of the first use is before the last that is kept.
    intake.keep_keys(redis, -1)
    [later_id] = intake.put(redis, [later], now=now + timedelta(days=3))
    assert first_id != later_id
    intake.keep_keys(redis, 7)
    assert intake.put(redis, [later], now=now + timedelta(days=4)) == [later_id]


def test_a_hundred_thousand_keys_take_less_than_80_bytes_of_redis_each(redis: Redis) -> None:
    before = redis.info("memory")["used_memory"]
    now, count = datetime.now(UTC), 100_000
    for start in range(0, count, 500):
        messages = [
            read_message(
                {"to": "13800138000", "content": "一", "key": f"order-{n}"}, now=now, default_id="", accounts=None
            )
            for n in range(start, start + 500)
        ]
        intake.remove(redis, "notice", intake.put(redis, messages, now=now))
    assert (redis.info("memory")["used_memory"] - before) / count < 80
    buckets = list(redis.scan_iter("sms:keys:*", count=1000))
    assert len(buckets) > 1000
    assert all(redis.ttl(bucket) > 0 for bucket in buckets[:100])


def test_a_message_with_a_key_takes_one_round_trip_and_one_connection(redis: Redis, redis_url: str) -> None:
    client = SmsClient(redis_url)
    announced.announce(redis, ["default"], now=datetime.now(UTC))
    client.send("13800138000", "一", key="k")
    before = redis.info("commandstats")
    client.send("13800138000", "二", key="l")
    after = redis.info("commandstats")
    calls = {name: stats["calls"] - before.get(name, {"calls": 0})["calls"] for name, stats in after.items()}
    assert calls["cmdstat_evalsha"] == 1
    assert not calls.get("cmdstat_ping")


def test_many_messages_share_a_task_of_their_lane(redis: Redis, redis_url: str) -> None:
    texts = [
        {"to": f"139{n:08d}", "content": f"第 {n} 条", "lane": lane} for n in range(25) for lane in ("otp", "notice")
    ]
    ids = SmsClient(redis_url).send_many(texts)
    assert len(set(ids)) == 50
    assert (redis.llen("sms.otp"), redis.llen("sms.notice")) == (1, 1)
    assert intake.depth(redis) == {"otp": 25, "notice": 25, "marketing": 0, "push": 0}


def test_however_many_are_sent_one_bell_waits_in_the_queue_of_their_lane(redis: Redis, redis_url: str) -> None:
    client = SmsClient(redis_url)
    for n in range(50):
        client.send("13800138000", f"第 {n} 条", lane="otp")
    assert (redis.llen("sms.otp"), intake.depth(redis)["otp"]) == (1, 50)


def test_ten_thousand_messages_go_over_one_connection(redis: Redis, redis_url: str) -> None:
    before = redis.info("stats")["total_connections_received"]
    SmsClient(redis_url).send_many({"to": f"139{n:08d}", "content": f"第 {n} 条"} for n in range(10_000))
    assert redis.info("stats")["total_connections_received"] - before == 1
    assert intake.depth(redis)["notice"] == 10_000


def test_without_redis_the_error_says_so_within_seconds() -> None:
    client = SmsClient("redis://127.0.0.1:1/0")
    started = time.monotonic()
    with pytest.raises(Unavailable, match="Redis cannot be reached, so nothing was enqueued"):
        client.send("13800138000", "您好")
    assert time.monotonic() - started < 5


@contextmanager
def silent(redis: Redis) -> Iterator[None]:
    """A Redis that takes what it is sent and does not answer, until the end of the block."""
    server = redis.info("server")["process_id"]
    os.kill(server, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(server, signal.SIGCONT)


def test_of_a_message_that_a_silent_redis_was_given_the_error_says_that_it_is_perhaps_enqueued(
    redis: Redis, redis_url: str
) -> None:
    client = SmsClient(redis_url)
    announced.announce(redis, ["default"], now=datetime.now(UTC))
    client.send("13800138000", "您好")
    with silent(redis):
        started = time.monotonic()
        with pytest.raises(Unavailable, match=r"is perhaps enqueued\. Send messages with a key again") as raised:
            client.send("13800138001", "您好")
        assert time.monotonic() - started < 5
    assert raised.value.enqueued == ()
    # And so it was, once Redis went on.
    assert [intake.find(redis, message_id) is not None for message_id in raised.value.perhaps] == [True]


def test_of_a_message_that_a_silent_redis_was_not_given_the_error_says_that_nothing_was_enqueued(
    redis: Redis, redis_url: str
) -> None:
    with silent(redis), pytest.raises(Unavailable, match="so nothing was enqueued") as raised:
        SmsClient(redis_url).send("13800138000", "您好")
    assert raised.value.perhaps == ()
    assert everything(redis) == NOTHING


def test_of_many_messages_the_error_says_which_are_enqueued_and_which_perhaps(redis: Redis, redis_url: str) -> None:
    client = SmsClient(redis_url)
    announced.announce(redis, ["default"], now=datetime.now(UTC))
    stopping = ExitStack()

    def messages() -> Iterator[dict[str, str]]:
        yield from ({"to": "13800138000", "content": f"第 {n} 条"} for n in range(PUT_AT_ONCE + 7))

    class Stops(SmsClient):
        """A client whose Redis falls silent once it has the first of the parts."""

        def _ring(self, lanes: Iterable[str]) -> None:
            stopping.enter_context(silent(redis))

    stops = Stops(redis_url)
    with stopping, pytest.raises(Unavailable, match=f"the first {PUT_AT_ONCE} messages are enqueued; then") as raised:
        stops.send_many(messages())
    client.send("13800138000", "您好")
    assert (len(raised.value.enqueued), len(raised.value.perhaps)) == (PUT_AT_ONCE, 7)
    assert all(intake.find(redis, message_id) for message_id in (*raised.value.enqueued, *raised.value.perhaps))


@pytest.mark.parametrize("user", [":wrong@", "nobody:wrong@", ""])
def test_a_redis_that_refuses_the_password_is_an_error_of_its_own(redis: Redis, redis_url: str, user: str) -> None:
    redis.config_set("requirepass", "right")
    try:
        with pytest.raises(NotPermitted, match="Redis refuses the user or the password") as raised:
            SmsClient(redis_url.replace("redis://", f"redis://{user}")).send("13800138000", "您好")
    finally:
        redis.execute_command("AUTH", "right")
        redis.config_set("requirepass", "")
    assert "wrong" not in str(raised.value).replace("WRONGPASS", "")
    assert "reached" not in str(raised.value)


def test_a_redis_that_does_not_take_it_has_enqueued_nothing(redis: Redis, redis_url: str) -> None:
    client = SmsClient(redis_url)
    client.send("13800138000", "您好")
    before = everything(redis)
    redis.config_set("maxmemory", "1")
    try:
        with pytest.raises(Unavailable, match="Redis has no room, so nothing was enqueued") as raised:
            client.send("13800138001", "您好")
    finally:
        redis.config_set("maxmemory", "0")
    assert raised.value.perhaps == ()
    assert everything(redis) == before


def test_where_no_worker_has_ever_been_the_client_warns_once(
    redis: Redis, redis_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    client = SmsClient(redis_url.replace("redis://", "redis://:s3cret@").replace("/0", "/7"))
    for _ in range(2):
        client.send("13800138000", "您好")
    [warned] = [record.getMessage() for record in caplog.records]
    assert warned.startswith("no worker has ever been at work in database 7 of the Redis at 127.0.0.1:")
    assert "s3cret" not in warned
    caplog.clear()
    announced.announce(redis, ["default"], now=datetime.now(UTC))
    SmsClient(redis_url).send("13800138000", "您好")
    assert caplog.records == []


def test_the_client_is_light_to_import() -> None:
    heavy = [
        "celery",
        "kombu",
        "sqlalchemy",
        "flask",
        "lxml",
        "requests",
        "pydantic",
        "typer",
        "rich",
        "aiohttp",
        "alembic",
    ]
    show = f"import sys, worker.client; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", show], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_nobody_sends_in_the_name_of_a_campaign(redis_url: str) -> None:
    with pytest.raises(ValueError, match="is a campaign; give another name"):
        SmsClient(redis_url, caller="campaign/7")


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_the_memory_of_redis_is_looked_at_once_a_second_or_for_a_thousand_messages(redis: Redis) -> None:
    clock = Clock()
    headroom = Headroom(redis, clock)

    def looks() -> int:
        return int(redis.info("commandstats")["cmdstat_info"]["calls"])

    def looks_of(*counts: int) -> int:
        before = looks()
        for count in counts:
            headroom.share_if_full(count)
        return looks() - before - 1

    assert looks_of(1, 1, 400, 500) == 1
    assert looks_of(500, 500, 1) == 2
    clock.now += 1
    assert looks_of(1, 1) == 1


def test_a_redis_without_a_limit_takes_everything(redis: Redis) -> None:
    assert redis.info("memory")["maxmemory"] == 0
    assert memory_share(redis) is None


def test_a_waiting_message_takes_less_than_half_a_kilobyte_of_redis(redis: Redis, redis_url: str) -> None:
    before = redis.info("memory")["used_memory"]
    sms = SmsClient(redis_url)
    sms.send_many({"to": f"138{n:08}", "content": "您的验证码是 123456，五分钟内有效。"} for n in range(5000))
    assert (redis.info("memory")["used_memory"] - before) / 5000 < 500

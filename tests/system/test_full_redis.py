"""A Redis that takes nothing more: new messages are refused in time, workers outlive it, and what lies there goes out."""

import shutil
from collections.abc import Iterator
from contextlib import suppress

import psutil
import pytest
from redis import Redis
from redis.exceptions import OutOfMemoryError, ResponseError
from stack_probe import simulator

from worker.client import Full, SmsClient, Unavailable
from worker.devstack.stack import Stack, running_stack
from worker.redis_store import intake
from worker.redis_store.headroom import FULL_SHARE, memory_share

MAXMEMORY = 6_000_000
AT_ONCE = 200
TEXT = "您的订单已发货，请注意查收。"
REFUSALS = 3
"""The refused commands that the test waits for. A lost connection would be only one."""

pytestmark = [
    pytest.mark.timeout(180),
]


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with running_stack(tmp_path_factory.mktemp("stack"), concurrency=4) as running:
        yield running


@pytest.fixture
def redis(stack: Stack) -> Iterator[Redis]:
    stack.ask_simulator("reset", {})
    with Redis.from_url(stack.redis_url) as client:
        yield client


def send(client: SmsClient, first: int, count: int) -> list[str]:
    return client.send_many({"to": f"138{n:08}", "content": TEXT} for n in range(first, first + count))


def all_sent(stack: Stack, redis: Redis, count: int) -> None:
    """Waits until all messages went out, each once, from workers that never ended."""
    stack.wait_for("an empty intake", lambda: not sum(intake.depth(redis).values()))
    stack.wait_for("all of them sent", lambda: simulator(stack, "mobiles_taken") >= count)
    assert simulator(stack, "mobiles_taken") == count
    assert "Unrecoverable" not in stack.log("worker").read_text()


def test_a_flood_is_refused_while_there_is_room_for_workers_to_send_all_that_was_taken(
    stack: Stack, redis: Redis
) -> None:
    worker = psutil.Process(stack.processes["worker"].pid)
    client = SmsClient(stack.redis_url)
    redis.config_set("maxmemory", MAXMEMORY)
    worker.suspend()
    sent = 0
    with pytest.raises(Full, match="of its maxmemory"):
        while True:
            sent += len(send(client, sent, AT_ONCE))
    share = memory_share(redis)
    assert share is not None
    assert FULL_SHARE <= share < 1
    worker.resume()
    all_sent(stack, redis, sent)
    sent += len(stack.wait_for("room again", lambda: taken(client, sent)))
    all_sent(stack, redis, sent)
    redis.config_set("maxmemory", 0)


def taken(client: SmsClient, first: int) -> list[str]:
    with suppress(Full):
        return send(client, first, AT_ONCE)
    return []


def test_workers_send_what_lies_in_a_redis_that_others_have_filled(stack: Stack, redis: Redis) -> None:
    worker = psutil.Process(stack.processes["worker"].pid)
    worker.suspend()
    client = SmsClient(stack.redis_url)
    send(client, 0, AT_ONCE)
    redis.config_set("maxmemory", redis.info("memory")["used_memory"])
    with pytest.raises(OutOfMemoryError):
        redis.set("another program's", "x" * 1_000_000)
    with pytest.raises(Full):
        send(client, AT_ONCE, 1)
    worker.resume()
    all_sent(stack, redis, AT_ONCE)
    redis.config_set("maxmemory", 0)
    assert send(client, AT_ONCE, 1)
    all_sent(stack, redis, AT_ONCE + 1)


def test_workers_outlive_a_redis_whose_disk_takes_nothing(stack: Stack, redis: Redis) -> None:
    # A snapshot that cannot be put in its place has Redis answer MISCONF to each write, as an AOF does that cannot be written.
    place = stack.directory / "valkey" / "dump.rdb"
    place.mkdir()
    redis.config_set("save", "1000 1")
    client = SmsClient(stack.redis_url)
    sent = len(send(client, 0, AT_ONCE))
    with suppress(ResponseError):
        redis.bgsave()
    stack.wait_for("a failed snapshot", lambda: redis.info("persistence")["rdb_last_bgsave_status"] == "err")
    with pytest.raises(Unavailable, match="MISCONF"):
        send(client, sent, 1)
    said = stack.log("worker")
    stack.wait_for("the worker to notice", lambda: said.read_text().count("MISCONF") >= REFUSALS, seconds=30)
    shutil.rmtree(place)
    redis.bgsave()
    stack.wait_for("a disk", lambda: redis.info("persistence")["rdb_last_bgsave_status"] == "ok")
    redis.config_set("save", "")
    sent += len(send(client, sent, AT_ONCE))
    all_sent(stack, redis, sent)

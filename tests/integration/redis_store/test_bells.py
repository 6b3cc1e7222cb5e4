"""Bells: what Celery itself would publish, and few of them at a time."""

import json
from base64 import b64decode
from typing import Any

from celery import Celery
from redis import Redis

from worker.campaigns.feed import FeedOutcome, feed_part
from worker.domain.lane import LANES
from worker.redis_store import bells

QUEUE = "sms.notice"
OF_ITS_OWN = {"id", "root_id", "correlation_id", "delivery_tag", "body"}


def test_a_bell_is_what_celery_itself_would_publish(redis: Redis, redis_url: str) -> None:
    bells.ring(redis, "sms.work", "notice", queue=QUEUE)
    app = Celery(broker=redis_url, set_as_current=False)
    app.send_task("sms.work", ("notice",), queue=QUEUE)
    its, ours = map(json.loads, redis.lrange(QUEUE, 0, -1))
    assert json.loads(b64decode(ours["body"])) == json.loads(b64decode(its["body"]))
    assert same_in(ours, its)


def same_in(ours: dict[str, Any], its: dict[str, Any]) -> bool:
    """Whether Celery's task (`its`) has the same fields as ours. Fields that differ in each task do not count."""
    return all(
        name in OF_ITS_OWN
        or (same_in(value, its[name]) if isinstance(value, dict) else value == its[name] or name == "ignore_result")
        for name, value in ours.items()
    )


def test_where_a_bell_waits_no_other_is_put_beside_it(redis: Redis) -> None:
    for _ in range(5):
        bells.ring_lane(redis, LANES["otp"])
    assert redis.llen("sms.otp") == 1
    redis.rpop("sms.otp")
    bells.ring_lane(redis, LANES["otp"])
    assert redis.llen("sms.otp") == 1


def test_no_two_bells_are_the_same(redis: Redis) -> None:
    for _ in range(5):
        bells.ring(redis, "sms.launch", 7, queue=QUEUE, fewer_than=3)
    tags = {json.loads(raw)["properties"]["delivery_tag"] for raw in redis.lrange(QUEUE, 0, -1)}
    assert len(tags) == 3


def test_what_must_be_done_each_time_is_put_there_however_many_wait(redis: Redis) -> None:
    for push_id in range(20):
        bells.send(redis, "sms.process_push", push_id, queue="sms.push")
    assert redis.llen("sms.push") == 20


def test_a_run_of_an_account_that_is_not_here_is_rung_for_at_once_and_not_again_for_a_moment(redis: Redis) -> None:
    def feed(run_id: int) -> bool:
        return feed_part(redis, lambda _: FeedOutcome.NOT_HERE, (run_id, QUEUE))

    assert not feed(7)
    assert redis.rpop(QUEUE)
    assert not feed(7)
    assert not redis.llen(QUEUE)
    assert not feed(8)
    assert redis.rpop(QUEUE)

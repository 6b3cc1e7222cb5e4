"""Celery's connection to a Redis that takes nothing more: a task that was popped and could not be noted is not lost."""

from collections.abc import Iterator
from typing import Any

import pytest
from celery import Celery
from kombu import Connection, Consumer, Exchange, Queue
from redis import Redis

from worker.redis_store.celery_connection import AMQP, UNACKED_KEY

NAME = "sms.otp"
QUEUE = Queue(NAME, Exchange(NAME), routing_key=NAME)
OPTIONS = {"unacked_key": UNACKED_KEY, "unacked_index_key": f"{UNACKED_KEY}_index"}


@pytest.fixture
def connection(redis: Redis, redis_url: str) -> Iterator[Connection]:
    app = Celery(broker=redis_url, amqp=AMQP, set_as_current=False)
    app.conf.broker_transport_options = OPTIONS
    with app.connection_for_read() as connection:
        yield connection
        redis.config_set("maxmemory", 0)


def popped(redis: Redis, connection: Connection, count: int = 1) -> list[Any]:
    """Sends tasks, and takes them from a Redis that has no room to note them. Returns the messages, which lie nowhere
    in Redis then.
    """
    app = Celery(broker=connection.as_uri(include_password=True), set_as_current=False)
    for number in range(count):
        app.send_task("sms.send", kwargs={"message": {"to": "13800138000", "content": f"{number}"}}, queue=NAME)
    tasks: list[Any] = []
    channel = connection.channel()
    channel.basic_qos(0, count, False)
    Consumer(channel, [QUEUE], on_message=tasks.append, accept=["json"]).consume()
    redis.config_set("maxmemory", 1)
    while len(tasks) < count:
        connection.drain_events(timeout=5)
    assert redis.llen(NAME) == redis.hlen(UNACKED_KEY) == 0
    return tasks


def test_a_task_that_a_full_redis_did_not_note_goes_back_into_its_queue_when_it_is_rejected(
    redis: Redis, connection: Connection
) -> None:
    (message,) = popped(redis, connection)
    message.reject(requeue=True)
    assert redis.llen(NAME) == 1
    connection.close()
    assert redis.llen(NAME) == 1


def test_what_a_full_redis_did_not_note_goes_back_into_its_queue_when_the_worker_ends(
    redis: Redis, connection: Connection
) -> None:
    done, *_ = popped(redis, connection, 3)
    done.ack()
    connection.close()
    assert redis.llen(NAME) == 2


def test_a_task_that_was_not_noted_and_is_done_or_dropped_does_not_come_again(
    redis: Redis, connection: Connection
) -> None:
    done, dropped = popped(redis, connection, 2)
    done.ack()
    dropped.reject(requeue=False)
    connection.close()
    assert redis.llen(NAME) == 0


def test_a_task_that_was_noted_goes_back_into_its_queue_when_it_is_rejected(redis: Redis, redis_url: str) -> None:
    app = Celery(broker=redis_url, amqp=AMQP, set_as_current=False)
    app.conf.broker_transport_options = OPTIONS
    app.send_task("sms.send", queue=NAME)
    with app.connection_for_read() as connection:
        tasks: list[Any] = []
        Consumer(connection.channel(), [QUEUE], on_message=tasks.append, accept=["json"]).consume()
        connection.drain_events(timeout=5)
        assert (redis.llen(NAME), redis.hlen(UNACKED_KEY)) == (0, 1)
        tasks[0].reject(requeue=True)
        assert (redis.llen(NAME), redis.hlen(UNACKED_KEY)) == (1, 0)

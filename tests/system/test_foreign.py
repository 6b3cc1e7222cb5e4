"""Frames in the queues and items in the intake that no client put there: a real worker goes on, and people see them."""

import json
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from celery import Celery
from redis import Redis
from sqlalchemy import Engine, select
from test_send_by_name import arrives

from worker.client import SmsClient
from worker.devstack.errors import StackError
from worker.devstack.stack import Stack
from worker.domain.message import id_of
from worker.ledger import tables as t
from worker.ledger.engine import reading
from worker.ledger.sending import message_queries
from worker.redis_store import bells, heartbeat

MOBILE, TEXT = "13812345678", "您的验证码是 987123"


def kept(stack: Stack, ledger: Engine, message_id: str) -> Any:
    """The row of a refused message, as soon as the ledger has it."""

    def row() -> Any:
        with reading(ledger) as connection:
            return connection.execute(select(t.refused).where(t.refused.c.id == message_id)).first()

    return stack.wait_for(f"{message_id} refused", row, seconds=20)


def goes_on(stack: Stack, ledger: Engine) -> None:
    """Sees that a message sent now is delivered."""
    arrives(stack, ledger, SmsClient(stack.redis_url).send("13800138000", "您好"))


def task(**changes: Any) -> dict[str, Any]:
    """A task as Celery writes it, with these changes. The change {} removes a part."""
    whole = {
        "body": [[], {"message": {"to": [MOBILE], "content": TEXT}}, {}],
        "headers": {"task": "sms.send", "id": str(uuid4()), "lang": "py"},
        "content-type": "application/json",
        "content-encoding": "utf-8",
        "properties": {
            "delivery_tag": str(uuid4()),
            "delivery_info": {"exchange": "", "routing_key": "sms.notice"},
            "correlation_id": str(uuid4()),
        },
    } | changes
    whole["body"] = whole["body"] if isinstance(whole["body"], str) else json.dumps(whole["body"])
    return whole


NO_FRAMES: dict[str, bytes] = {
    "[[[": b"[[[",
    "bytes": b"\xff\xfe\0",
    "nothing": b"",
    "null": b"null",
    "a number": b"7",
    "a mapping": b"{}",
    "no properties": json.dumps(task(properties={})).encode(),
    "headers that are a list": json.dumps(task(headers=["x"])).encode(),
    "a body that is not base64": json.dumps(task(body="x", properties=task()["properties"] | {"body_encoding": "base64"})).encode(),
    "a body in no encoding": json.dumps(task(properties=task()["properties"] | {"body_encoding": "rot13"})).encode(),
    "a tag that is a list": json.dumps(task(properties=task()["properties"] | {"delivery_tag": []})).encode(),
    "nested without end": b"[" * 50_000,
}  # fmt: skip


def test_what_is_no_frame_does_not_end_a_worker_and_is_kept_as_refused(stack: Stack, ledger: Engine) -> None:
    with Redis.from_url(stack.redis_url) as redis:
        redis.lpush("sms.notice", *NO_FRAMES.values())
        redis.lpush("sms.push", b"]]]")
    for frame in (*NO_FRAMES.values(), b"]]]"):
        row = kept(stack, ledger, id_of(frame))
        assert "is not a task of Celery" in row.faults
    goes_on(stack, ledger)


def headers(**changes: Any) -> dict[str, Any]:
    return {"headers": task()["headers"] | changes}


NO_TASKS: dict[str, Callable[[str], dict[str, Any]]] = {
    "a mistyped name": lambda name: task(**headers(id=name, task="sms.sned")),
    "a name that is a list": lambda name: task(**headers(id=name, task=["sms.send"])),
    "a body that is no JSON": lambda name: task(**headers(id=name), body="{"),
    "pickle": lambda name: task(**headers(id=name), **{"content-type": "application/x-python-serialize"}, body="x"),
    "no arguments": lambda name: task(**headers(id=name), body=[]),
    "arguments that are a number": lambda name: task(**headers(id=name), body=7),
    "keyword arguments that are a list": lambda name: task(**headers(id=name), body=[[], [], {}]),
    "a time that is none": lambda name: task(**headers(id=name, eta="soon")),
    "retries that are a text": lambda name: task(**headers(id=name, timelimit=7)),
    "an unknown compression": lambda name: task(**headers(id=name, compression="application/x-lzx")),
}


@pytest.mark.parametrize("make_task", NO_TASKS.values(), ids=NO_TASKS)
def test_a_task_that_cannot_be_done_is_kept_as_refused_and_its_text_is_in_no_log(
    stack: Stack, ledger: Engine, make_task: Callable[[str], dict[str, Any]]
) -> None:
    task_id = str(uuid4())
    with Redis.from_url(stack.redis_url) as redis:
        redis.lpush("sms.notice", json.dumps(make_task(task_id)))
    row = kept(stack, ledger, task_id)
    assert row.faults != "[]"
    goes_on(stack, ledger)
    log = stack.log("worker").read_text()
    assert MOBILE not in log
    assert "987123" not in log
    assert task_id in log


ODD: tuple[Any, ...] = ({"a": [1]}, ["x"], [], 7, 0, 1.5, True, None, "", "x", "\ud83d")
"""Values for fields that are meant for something else."""
HEADERS = (
    *("origin", "eta", "expires", "retries", "timelimit", "group", "group_index", "root_id", "parent_id", "argsrepr"),
    *("kwargsrepr", "lang", "shadow", "ignore_result", "stamped_headers", "stamps", "groups", "replaced_task_nesting"),
    *("replay", "compression", "meth", "delivery_info", "reply_to", "hostname", "args", "kwargs", "called_directly"),
    *("is_eager", "headers", "properties", "callbacks", "errbacks", "chain", "chord", "utc", "get", "update", "clear"),
    *("correlation_id", "loglevel", "logfile", "taskset", "_children", "as_execution_options", "x"),
)  # fmt: skip
PROPERTIES = (
    "priority",
    "correlation_id",
    "reply_to",
    "delivery_mode",
    "body_encoding",
    "delivery_info",
    "delivery_tag",
)
WHERE = ("exchange", "routing_key", "priority", "redelivered")
OPTIONS = ("callbacks", "errbacks", "chain", "chord", "id", "origin", "delivery_info", "get")


@pytest.mark.parametrize(
    ("option", "time", "fault"),
    [
        ("eta", "9999-12-31T23:59:59-08:00", "whose eta is more than 366 days from now"),
        ("eta", "0001-01-01T00:00:00+08:00", "whose eta is more than 366 days from now"),
        ("eta", "9999-12-31T23:59:59", "whose eta is more than 366 days from now"),
        ("expires", "9999-12-31T23:59:59-08:00", "whose expires is more than 366 days from now"),
        ("expires", (datetime.now(UTC) - timedelta(seconds=5)).isoformat(), "that expired before a worker took it"),
    ],
    ids=["at the end of time", "at its beginning", "at the end, without a zone", "expires never", "has expired"],
)
def test_a_task_with_a_time_that_celery_drops_or_holds_for_ever_is_refused_and_no_log_has_its_text(
    stack: Stack, ledger: Engine, option: str, time: str, fault: str
) -> None:
    frame = task(headers=task()["headers"] | {option: time})
    with Redis.from_url(stack.redis_url) as redis:
        redis.lpush("sms.notice", json.dumps(frame))
    assert fault in kept(stack, ledger, frame["headers"]["id"]).faults
    assert TEXT not in stack.log("worker").read_text()


def odd_frames() -> dict[str, dict[str, Any]]:
    """Frames with something odd in one field each, by the ids of their tasks."""
    frames = {}
    for odd in ODD:
        properties = task()["properties"]
        where = properties["delivery_info"]
        tasks = [task(headers=task()["headers"] | {name: odd}) for name in HEADERS]
        tasks += [task(properties=task()["properties"] | {name: odd}) for name in PROPERTIES]
        tasks += [task(properties=task()["properties"] | {"delivery_info": where | {name: odd}}) for name in WHERE]
        tasks += [task(body=[[], {"message": {"to": [MOBILE], "content": TEXT}}, {name: odd}]) for name in OPTIONS]
        frames |= {frame["headers"]["id"]: frame for frame in tasks}
    return frames


def test_whatever_stands_in_a_field_of_a_task_it_is_sent_or_refused_and_never_vanishes(
    stack: Stack, ledger: Engine
) -> None:
    frames = odd_frames()
    texts = {task_id: json.dumps(frame) for task_id, frame in frames.items()}
    with Redis.from_url(stack.redis_url) as redis:
        redis.lpush("sms.notice", *texts.values())

    def lost() -> list[str]:
        with reading(ledger) as connection:
            ids = select(t.refused.c.id).union_all(select(t.messages.c.public_id))
            there = set(connection.execute(ids).scalars())
        return [text for name, text in texts.items() if not {name, id_of(text.encode())} & there]

    try:
        stack.wait_for("all of them sent or refused", lambda: not lost(), seconds=60)
    except StackError as error:
        # Which they are is not in what it says.
        error.add_note("\n".join(lost()))
        raise
    goes_on(stack, ledger)
    assert TEXT not in stack.log("worker").read_text()


def test_a_task_that_was_moved_to_the_queue_of_a_lane_is_of_that_lane(stack: Stack, ledger: Engine) -> None:
    app = Celery(broker=stack.redis_url, set_as_current=False)
    task_id = str(app.send_task("sms.send", kwargs={"message": {"to": MOBILE, "content": TEXT}}, queue="sms.opt"))
    with Redis.from_url(stack.redis_url) as redis:
        redis.lmove("sms.opt", "sms.otp", "RIGHT", "LEFT")
    arrives(stack, ledger, task_id)
    with reading(ledger) as connection:
        message = message_queries.find(connection, task_id)
    assert message is not None
    assert message.lane == "otp"


def test_a_message_that_names_no_lane_in_a_queue_of_none_is_refused_with_what_to_do(
    stack: Stack, ledger: Engine
) -> None:
    app = Celery(broker=stack.redis_url, set_as_current=False)
    message = {"to": MOBILE, "content": TEXT}
    task_id = str(app.send_task("sms.send", kwargs={"message": message}, queue="sms.upkeep"))
    assert "lane is missing, and the queue sms.upkeep is that of no lane" in kept(stack, ledger, task_id).faults
    named = str(app.send_task("sms.send", kwargs={"message": message | {"lane": "otp"}}, queue="sms.upkeep"))
    arrives(stack, ledger, named)


def test_a_message_by_name_that_redis_will_not_take_is_tried_again_at_a_pace(stack: Stack, ledger: Engine) -> None:
    app = Celery(broker=stack.redis_url, set_as_current=False)
    message = {"to": MOBILE, "content": TEXT}
    said = stack.log("worker")
    before = said.read_text().count("is tried again: WRONGTYPE")

    def tries() -> int:
        return said.read_text().count("is tried again: WRONGTYPE") - before

    with Redis.from_url(stack.redis_url) as redis:
        redis.set("sms:intake:notice", "of another type")
        try:
            started = time.monotonic()
            task_id = str(app.send_task("sms.send", kwargs={"message": message}, queue="sms.notice"))
            stack.wait_for("four tries", lambda: tries() >= 4, seconds=20)
            assert time.monotonic() - started > 2
        finally:
            redis.delete("sms:intake:notice")
    arrives(stack, ledger, task_id)


def test_a_mistyped_task_of_a_program_that_has_celery_alone_is_kept_with_its_text(stack: Stack, ledger: Engine) -> None:
    app = Celery(broker=stack.redis_url, set_as_current=False)
    message = {"to": [MOBILE], "content": TEXT}
    task_id = str(app.send_task("sms.sned", kwargs={"message": message}, queue="sms.otp"))
    row = kept(stack, ledger, task_id)
    assert "is for the task 'sms.sned', which this version does not have" in row.faults
    assert message in json.loads(json.loads(row.payload)["body"])[1].values()
    log = stack.log("worker").read_text()
    assert MOBILE not in log
    assert "987123" not in log


def test_of_401_messages_taken_in_together_the_one_that_cannot_be_kept_is_refused(
    stack: Stack, ledger: Engine, tmp_path: Path
) -> None:
    started = time.monotonic()
    client = SmsClient(stack.redis_url)
    bad = {"id": "bad", "to": [MOBILE], "content": TEXT, "lane": "notice", "account": "default", "valid_for": None}
    bad |= {"created_at": "2026-11-22T04:00:00+00:00", "at": "9999-12-31T23:59:59.999999-12:00", "metadata": None}
    name = str(uuid4())
    with Redis.from_url(stack.redis_url) as redis:
        for number, item in enumerate((json.dumps(bad | {"id": name}).encode(), b"\xff", b"[" * 10_000)):
            item_id = name if number == 0 else f"{name}-{number}"
            redis.hset("sms:intake:notice", item_id, item)
            redis.zadd("sms:intake:notice:waiting", {item_id: 0})
    ids = client.send_many([{"to": f"137{n:08}", "content": "您的订单已发货"} for n in range(400)])
    arrives(stack, ledger, ids[-1])
    assert "more than 366 days ahead" in kept(stack, ledger, name).faults
    for number in (1, 2):
        assert "is not JSON" in kept(stack, ledger, f"{name}-{number}").faults
    arrives(stack, ledger, ids[0])
    assert time.monotonic() - started < 20


@pytest.mark.parametrize("queue", ["sms.marketing", "sms.upkeep"])
def test_a_key_that_is_a_queue_and_no_list_is_moved_aside_and_kept(stack: Stack, ledger: Engine, queue: str) -> None:
    with Redis.from_url(stack.redis_url) as redis:
        stack.wait_for("a free key", lambda: redis.set(queue, "somebody's", nx=True))
        name, *others = stack.wait_for("it moved", lambda: redis.keys(f"{queue}:not-a-list:*"))
        assert (redis.get(name), others) == (b"somebody's", [])
        goes_on(stack, ledger)
        tick = heartbeat.last_tick(redis)
        stack.wait_for("ticks", lambda: (last := heartbeat.last_tick(redis)) and (not tick or last > tick))
        assert stack.log("worker").read_text().count(f"a value that is not a list to the key '{queue}'") == 1
        assert bells.moved_aside(redis) == [name.decode()]
        redis.delete(name)


def test_a_worker_starts_though_a_key_that_is_a_queue_is_no_list(stack: Stack, ledger: Engine) -> None:
    stack.stop("worker")
    with Redis.from_url(stack.redis_url) as redis:
        redis.delete("sms.notice")
        redis.hset("sms.notice", "somebody's", "1")
        stack.start("worker")
        goes_on(stack, ledger)
        (name,) = bells.moved_aside(redis)
        redis.delete(name)

"""Messages that an app sends by the name of the task."""

import json

import pytest
from intake_driver import taken_in
from ledger_driver import NOW, Ledger, mobile
from redis import Redis

from worker.domain.lane import LANES
from worker.ledger import tables as t
from worker.redis_store import intake
from worker.sending.by_name import put_by_name

TASK_ID = "0ddba11f-0000-4000-8000-000000000001"


def by_name(
    ledger: Ledger, redis: Redis, fields: object, task_id: str = TASK_ID, caller: str = "shop", queue: str | None = None
) -> str:
    """Puts a message by name into the intake, and takes it in: it is accepted or refused. Returns its lane."""
    lane = put_by_name(redis, fields, task_id, caller=caller, queue=queue, now=NOW)
    taken_in(ledger, redis, lane)
    assert intake.depth(redis)[lane] == 0
    return lane


def test_a_message_by_name_is_named_by_its_task_so_that_the_task_again_is_the_same_message(
    ledger: Ledger, redis: Redis
) -> None:
    fields = {"to": ["13800138000"], "content": "您好"}
    assert by_name(ledger, redis, fields) == by_name(ledger, redis, fields) == "notice"
    assert [row["public_id"] for row in ledger.rows(t.messages)] == [TASK_ID]
    assert [row["caller"] for row in ledger.rows(t.submissions)] == ["shop"]


@pytest.mark.parametrize(
    ("fields", "starts"),
    [
        ({"to": ["138"], "content": ""}, ["to[0] '138' is too short", "content is empty"]),
        ("13800138000", ["message is a str and not a mapping"]),
        (None, ["message is a NoneType and not a mapping"]),
        ({"to": "13800138000", "content": "您好", "caller": "\0"}, ["caller is a name"]),
        ({"to": "13800138000", "content": "您好", "at": "9999-12-31T23:59:59Z"}, ["at 9999-12-31T23:59:59"]),
        ({"args": ["13800138000"]}, ["args is not a field of a message", "to is missing", "content is missing"]),
    ],
)
def test_a_bad_message_by_name_is_kept_as_refused_with_its_faults_and_payload(
    ledger: Ledger, redis: Redis, fields: object, starts: list[str]
) -> None:
    assert by_name(ledger, redis, fields) == by_name(ledger, redis, fields) == "otp"
    (row,) = ledger.rows(t.refused)
    assert row["id"] == TASK_ID
    assert json.loads(str(row["payload"])) == fields
    for fault, start in zip(json.loads(str(row["faults"])), starts, strict=True):
        assert fault.startswith(start)


@pytest.mark.parametrize("fields", [{"to": {1, 2}}, {"at": NOW, "x": NOW}, {"to": [10**5000]}, {"x": {(1, 2): 3}}])
def test_what_comes_by_name_and_cannot_be_written_as_json_is_refused_too(
    ledger: Ledger, redis: Redis, fields: object
) -> None:
    assert by_name(ledger, redis, fields) == "otp"
    assert len(ledger.rows(t.refused)) == 1


def test_a_machine_of_any_name_may_send_by_name(ledger: Ledger, redis: Redis) -> None:
    fields = {"to": "13800138000", "content": "您好"}
    for number, machine in enumerate(["\0", "\ud83d", "x" * 300, "campaign/7"]):
        assert by_name(ledger, redis, fields, task_id=f"t{number}", caller=machine) == "notice"
    assert {row["caller"] for row in ledger.rows(t.submissions)} == {"?", "x" * 64, "?campaign/7"}


@pytest.mark.parametrize("lane", LANES)
def test_a_message_by_name_is_of_the_lane_whose_queue_it_came_by(ledger: Ledger, redis: Redis, lane: str) -> None:
    fields = {"to": "13800138000", "content": "您好"}
    assert by_name(ledger, redis, fields, queue=LANES[lane].queue) == lane
    assert by_name(ledger, redis, fields | {"lane": lane}, task_id="named", queue=LANES[lane].queue) == lane
    assert [row["lane"] for row in ledger.rows(t.messages)] == [lane, lane]


def test_a_message_by_name_whose_lane_is_not_that_of_its_queue_is_refused(ledger: Ledger, redis: Redis) -> None:
    fields = {"to": "13800138000", "content": "您好", "lane": "notice"}
    assert by_name(ledger, redis, fields, queue="sms.otp") == "otp"
    (row,) = ledger.rows(t.refused)
    assert "lane 'notice' came by the queue sms.otp; send it to sms.notice, or name no lane" in str(row["faults"])


def test_a_message_by_name_that_came_by_no_queue_of_a_lane_is_refused_unless_it_names_one(
    ledger: Ledger, redis: Redis
) -> None:
    fields = {"to": "13800138000", "content": "您好"}
    by_name(ledger, redis, fields, queue="sms.upkeep")
    (row,) = ledger.rows(t.refused)
    assert "lane is missing, and the queue sms.upkeep is that of no lane; send it to one of sms.otp," in str(
        row["faults"]
    )
    assert by_name(ledger, redis, fields | {"lane": "otp"}, task_id="named", queue="sms.upkeep") == "otp"


def test_a_message_by_name_of_an_account_that_this_worker_does_not_know_waits_in_the_intake(
    ledger: Ledger, redis: Redis
) -> None:
    fields = {"to": "13800138000", "content": "您好", "account": "x"}
    assert put_by_name(redis, fields, TASK_ID, caller="shop", queue="sms.otp", now=NOW) == "otp"
    taken_in(ledger, redis, "otp")
    assert ledger.rows(t.refused) == ledger.rows(t.messages) == []
    waiting = intake.find(redis, TASK_ID)
    assert waiting
    assert (waiting.account, waiting.caller) == ("x", "shop")


def test_a_task_id_that_is_no_id_of_ours_still_names_one_message(ledger: Ledger, redis: Redis) -> None:
    for _ in range(2):
        by_name(ledger, redis, {"to": "13800138000", "content": "您好"}, task_id="订单 " * 100)
    assert len(ledger.rows(t.messages)) == 1


def test_a_key_that_another_message_has_by_name_is_refused_under_the_id_of_the_task(
    ledger: Ledger, redis: Redis
) -> None:
    fields = {"to": "13800138000", "content": "您的验证码是 123456", "key": "k"}
    by_name(ledger, redis, fields)
    by_name(ledger, redis, fields, task_id="again")
    by_name(ledger, redis, fields | {"content": "您的验证码是 654321"}, task_id="another")
    by_name(ledger, redis, fields | {"content": "您的验证码是 654321", "caller": "web"}, task_id="of-another-caller")
    assert len(ledger.rows(t.messages)) == 2
    (row,) = ledger.rows(t.refused)
    assert row["id"] == "another"
    assert "key was used for another message on 2026-11-22: first notice to ****8000" in str(row["faults"])


def test_a_full_redis_takes_a_message_by_name_which_it_has_just_given_out(redis: Redis) -> None:
    redis.config_set("maxmemory", 1)
    try:
        for number, fields in enumerate(({"to": mobile(1), "content": "您好"}, {"to": "1", "content": ""})):
            put_by_name(redis, fields, f"task-{number}", caller="shop", queue="sms.otp", now=NOW)
    finally:
        redis.config_set("maxmemory", 0)
    assert intake.depth(redis)["otp"] == 2

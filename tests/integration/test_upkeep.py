"""The upkeep tick and the ways into the ledger: whatever lost its task gets a new one."""

import json
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from functools import partial

import pytest
from ledger_of import LEASE, NOW, Ledger, message, mobile, status_push
from redis import Redis

from worker import intake, upkeep
from worker.accept import Accepted, accept_by_name, accept_from_intake, by_lane, refuse
from worker.domain.message import Message
from worker.domain.outcome import BACKOFF_FIRST
from worker.domain.status import State
from worker.ledger import pushes
from worker.ledger.statements import ROWS
from worker.ledger.submissions import STRAY_AFTER, Recorded
from worker.ledger.tables import messages, refused
from worker.ledger.tables import pushes as pushes_table
from worker.process_push import keep_push


class Published:
    """What the tick published."""

    def __init__(self, ledger: Ledger, redis: Redis) -> None:
        self.ledger, self.redis = ledger, redis
        self.tasks: list[tuple[str, object]] = []

    def tick(self, now: datetime) -> list[tuple[str, object]]:
        self.tasks = []
        upkeep.tick(
            self.ledger.engine,
            self.redis,
            self.ledger.account_ids,
            publish_submit=lambda lane, nos: self.tasks.append((f"submit {lane}", list(nos))),
            publish_take=lambda lane, ids: self.tasks.append((f"take {lane}", list(ids))),
            publish_push=lambda no: self.tasks.append(("process_push", no)),
            publish_kept_push=lambda push_id: self.tasks.append(("keep_push", push_id)),
            resend={"marketing"},
            report_wait=timedelta(hours=72),
            now=now,
        )
        return self.tasks


@pytest.fixture
def beat(ledger: Ledger, redis: Redis) -> Iterator[Published]:
    return Published(ledger, redis)


def together(ledger: Ledger):
    def accept(some: Sequence[Message]) -> Accepted:
        return by_lane(some, ledger.accept(*some))

    return accept


def test_a_message_whose_task_was_lost_before_a_worker_had_it_gets_another(beat: Published) -> None:
    intake.put(beat.redis, [message("m"), message("o", lane="otp")], now=NOW)
    assert beat.tick(NOW + timedelta(seconds=4)) == []
    after = NOW + intake.STRAY_AFTER
    assert beat.tick(after) == [("take otp", ["o"]), ("take notice", ["m"])]
    assert beat.tick(after + timedelta(seconds=1)) == []
    assert beat.tick(after + intake.STRAY_AFTER) == [("take otp", ["o"]), ("take notice", ["m"])]


def test_a_submission_whose_task_was_lost_gets_another(beat: Published) -> None:
    nos = beat.ledger.accept(message("m", *map(mobile, range(15))), max_mobiles=1)["m"]
    assert beat.tick(NOW + STRAY_AFTER) == [("submit notice", nos[:10]), ("submit notice", nos[10:])]
    assert beat.tick(NOW + STRAY_AFTER + timedelta(seconds=1)) == []


def test_behind_a_long_queue_nothing_is_published_again(beat: Published) -> None:
    beat.ledger.accept(message("m"))
    intake.put(beat.redis, [message("n")], now=NOW)
    beat.redis.rpush("sms.notice", *range(ROWS))
    assert beat.tick(NOW + STRAY_AFTER) == []


def test_a_worker_that_was_lost_in_the_call_leaves_it_unknown(beat: Published) -> None:
    (no,) = beat.ledger.accept(message("m"))["m"]
    beat.ledger.claim([no])
    assert beat.tick(NOW + LEASE) == []
    assert beat.ledger.states() == {"unknown": 1}


def test_a_worker_that_was_lost_in_the_call_has_it_sent_once_more_in_a_lane_that_says_so(beat: Published) -> None:
    [nos] = beat.ledger.accept(message("m", lane="marketing")).values()
    beat.ledger.claim(nos)
    assert beat.tick(NOW + LEASE) == []
    assert beat.tick(NOW + LEASE + BACKOFF_FIRST) == [("submit marketing", nos)]


def test_what_was_accepted_three_days_ago_waits_for_its_report_no_longer(beat: Published) -> None:
    [nos] = beat.ledger.accept(message("m")).values()
    beat.ledger.claim(nos)
    beat.ledger.record(Recorded(nos[0], 1, State.ACCEPTED, None, "1", None))
    beat.tick(NOW + timedelta(hours=72) - timedelta(seconds=1))
    assert beat.ledger.states() == {"accepted": 1}
    beat.tick(NOW + timedelta(hours=72))
    assert beat.ledger.states() == {"unreported": 1}


def test_a_push_whose_task_was_lost_gets_another(beat: Published) -> None:
    with beat.ledger.engine.begin() as connection:
        no = pushes.add(connection, b"<x/>", source="127.0.0.1", received_at=NOW)
    assert beat.tick(NOW + pushes.STRAY_AFTER) == [("process_push", no)]


def test_a_push_that_went_to_redis_is_moved_to_the_ledger_with_its_time(beat: Published) -> None:
    body = status_push((mobile(1), 7, 1)).encode()
    intake.put_push(beat.redis, "p", body, source="10.0.0.1", now=NOW)
    assert beat.tick(NOW + intake.STRAY_AFTER) == [("keep_push", "p")]
    no = keep_push(beat.ledger.engine, beat.redis, "p")
    (row,) = beat.ledger.rows(pushes_table)
    assert (row["no"], row["body"], row["source"], row["received_at"]) == (no, body, "10.0.0.1", NOW)
    assert keep_push(beat.ledger.engine, beat.redis, "p") is None
    assert intake.depth(beat.redis)["push"] == 0


def test_the_tick_tells_clients_the_accounts(beat: Published) -> None:
    assert intake.known_accounts(beat.redis) is None
    beat.tick(NOW)
    assert intake.known_accounts(beat.redis) == {"default"}


def test_what_the_ledger_has_is_taken_out_of_the_intake(beat: Published) -> None:
    intake.put(beat.redis, [message("m"), message("n")], now=NOW)
    accepted = accept_from_intake(
        beat.redis,
        together(beat.ledger),
        partial(refuse, beat.ledger.engine),
        "notice",
        ["m", "n", "gone"],
        {"default"},
        now=NOW,
    )
    assert len(accepted["notice"]) == 2
    assert intake.depth(beat.redis)["notice"] == 0
    assert {row["id"] for row in beat.ledger.rows(messages)} == {"m", "n"}


def test_a_message_that_the_ledger_did_not_get_stays_in_the_intake(beat: Published) -> None:
    intake.put(beat.redis, [message("m")], now=NOW)

    def ledger_is_away(_: Sequence[Message]) -> Accepted:
        raise ConnectionError

    with pytest.raises(ConnectionError):
        accept_from_intake(
            beat.redis, ledger_is_away, partial(refuse, beat.ledger.engine), "notice", ["m"], {"default"}, now=NOW
        )
    assert intake.depth(beat.redis)["notice"] == 1


def test_what_lies_in_the_intake_and_cannot_be_sent_is_kept_as_refused(beat: Published) -> None:
    intake.put(beat.redis, [message("m", account="other")], now=NOW)
    beat.redis.hset("sms:intake:notice", "broken", "{")
    accepted = accept_from_intake(
        beat.redis,
        together(beat.ledger),
        partial(refuse, beat.ledger.engine),
        "notice",
        ["m", "broken"],
        {"default"},
        now=NOW,
    )
    assert accepted == {}
    told = {row["id"]: json.loads(str(row["faults"]))[0] for row in beat.ledger.rows(refused)}
    assert told["m"] == "account 'other' is unknown; there are default"
    assert "cannot be read" in told["broken"]
    assert intake.depth(beat.redis)["notice"] == 0


TASK_ID = "0ddba11f-0000-4000-8000-000000000001"


def by_name(ledger: Ledger, fields: object, task_id: str = TASK_ID) -> Accepted:
    return accept_by_name(together(ledger), partial(refuse, ledger.engine), fields, task_id, {"default"}, now=NOW)


def test_a_message_by_name_is_named_by_its_task_so_that_the_task_again_is_the_same_message(ledger: Ledger) -> None:
    fields = {"to": ["13800138000"], "content": "您好"}
    assert len(by_name(ledger, fields)["notice"]) == 1
    assert by_name(ledger, fields) == {"notice": []}
    assert [row["id"] for row in ledger.rows(messages)] == [TASK_ID]


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"to": ["138"], "content": ""}, ["to[0] '138' is too short", "content is empty"]),
        ({"to": "13800138000", "content": "您好", "account": "x"}, ["account 'x' is unknown"]),
        ("13800138000", ["message is no mapping but a"]),
        (None, ["message is no mapping but a"]),
        ({"args": ["13800138000"]}, ["args is no field of a message", "to is missing", "content is missing"]),
    ],
)
def test_a_bad_message_by_name_is_kept_as_refused_with_its_faults_and_payload(
    ledger: Ledger, fields: object, told: list[str]
) -> None:
    assert by_name(ledger, fields) == {}
    assert by_name(ledger, fields) == {}
    (row,) = ledger.rows(refused)
    assert row["id"] == TASK_ID
    assert json.loads(str(row["payload"])) == fields
    for fault, start in zip(json.loads(str(row["faults"])), told, strict=True):
        assert fault.startswith(start)


def test_a_task_id_that_is_no_id_of_ours_still_names_one_message(ledger: Ledger) -> None:
    for _ in range(2):
        by_name(ledger, {"to": "13800138000", "content": "您好"}, task_id="订单 " * 100)
    assert len(ledger.rows(messages)) == 1

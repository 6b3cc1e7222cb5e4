"""The upkeep tick and the ways into the ledger: whatever lost its task gets a new one."""

import json
from base64 import b64decode
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial
from typing import Any

import pytest
from campaign_driver import SPEC, Campaigns, window_of
from ledger_driver import LEASE, NOW, Ledger, message, mobile, policy, status_push
from pydantic import SecretStr
from redis import Redis
from sqlalchemy.exc import OperationalError

from worker.campaigns.start_due import start_due
from worker.config import Account, Settings
from worker.domain.lane import LANES, QUEUES
from worker.domain.message import Message, is_id
from worker.domain.message_json import to_json
from worker.domain.outcome import BACKOFF_FIRST
from worker.domain.status import State
from worker.domain.submission import Recorded
from worker.inbound.process_push import keep_pushes
from worker.ledger.inbound import pushes
from worker.ledger.sending import accounts as ledger_accounts
from worker.ledger.sending import gates
from worker.ledger.tables import messages, refused, submissions
from worker.ledger.tables import pushes as pushes_table
from worker.maintenance import tick
from worker.redis_store import accounts as announced
from worker.redis_store import bells, intake, intake_parked, intake_pushes
from worker.redis_store.accounts import announcing
from worker.sending.by_name import put_by_name
from worker.sending.take_in import accept_each, refuse, take_in


class Published:
    """What the tick published."""

    def __init__(self, ledger: Ledger, redis: Redis) -> None:
        self.ledger, self.redis = ledger, redis
        self.settings = Settings()
        self.settings.accounts["default"] = Account(epr_id=1, user_id="sword123", password=SecretStr("secret"))
        self.settings.lanes["marketing"] = replace(LANES["marketing"], resend_unknown="once")

    def tick(self, now: datetime) -> list[tuple[str, object]]:
        """The tasks that it put into each queue, each with its argument; but for the one of every minute."""
        tick.tick(
            self.ledger.engine,
            self.redis,
            self.settings,
            policy(self.ledger.account_ids, lanes=self.settings.lanes),
            start_due=partial(start_due, window=window_of),
            now=now,
        )
        tasks = [(queue, *task) for queue in QUEUES for task in self._drained(queue)]
        return [(name, argument) for _, name, argument in tasks if name != "settle"]

    def _drained(self, queue: str) -> Iterator[tuple[str, object]]:
        while raw := self.redis.rpop(queue):
            if raw.startswith(b"{"):
                task = json.loads(raw)
                args, _, _ = json.loads(b64decode(task["body"]))
                yield task["headers"]["task"].removeprefix("sms."), next(iter(args), None)


@pytest.fixture
def beat(ledger: Ledger, redis: Redis) -> Iterator[Published]:
    return Published(ledger, redis)


def taken_in(
    beat: Published,
    lane: str = "notice",
    accept: Callable[[Sequence[Message]], object] | None = None,
    accounts: Collection[str] = ("default",),
    now: datetime = NOW,
) -> bool:
    return take_in(
        beat.redis,
        accept or (lambda some: beat.ledger.accept(*some)),
        partial(refuse, beat.ledger.engine),
        LANES[lane],
        accounts,
        now=now,
    )


def test_a_lane_in_whose_intake_something_waits_gets_a_task(beat: Published) -> None:
    intake.put(beat.redis, [message("m"), message("o", lane="otp")], now=NOW)
    assert beat.tick(NOW) == [("work", "otp"), ("work", "notice")]
    taken_in(beat, "otp")
    assert ("work", "marketing") not in beat.tick(NOW)


def test_a_lane_in_which_something_is_due_gets_a_task(beat: Published) -> None:
    later = NOW + timedelta(hours=1)
    beat.ledger.accept(message("m", at=later))
    assert beat.tick(later - timedelta(seconds=1)) == []
    assert beat.tick(later) == [("work", "notice")]
    beat.ledger.pull(later)
    assert beat.tick(later) == []


def test_what_is_due_outside_the_hours_of_its_lane_waits_for_their_beginning_without_a_task(beat: Published) -> None:
    beat.ledger.accept(message("m", lane="marketing", valid_for=7 * 86400))
    at_night = NOW + timedelta(hours=9)  # 21:00 in Shanghai
    assert (beat.tick(at_night), beat.ledger.pull(at_night, "marketing").claimed) == ([], [])
    in_the_morning = NOW + timedelta(hours=20)
    assert beat.tick(in_the_morning) == [("work", "marketing")]
    assert len(beat.ledger.pull(in_the_morning, "marketing").claimed) == 1


def test_a_lane_that_has_a_task_gets_no_other(beat: Published) -> None:
    beat.ledger.accept(message("m"))
    beat.redis.rpush("sms.notice", "a task")
    assert beat.tick(NOW) == []


def test_a_message_whose_worker_was_lost_before_the_ledger_had_it_waits_again(beat: Published) -> None:
    intake.put(beat.redis, [message("m")], now=NOW)
    assert list(intake.take(beat.redis, "notice", now=NOW)) == [b"m"]
    assert intake.take(beat.redis, "notice", now=NOW) == {}
    assert beat.tick(NOW + intake.LOST_AFTER - timedelta(seconds=1)) == []
    assert beat.tick(NOW + intake.LOST_AFTER) == [("work", "notice")]
    assert list(intake.take(beat.redis, "notice", now=NOW)) == [b"m"]


def test_what_the_ledger_has_does_not_wait_again(beat: Published) -> None:
    intake.put(beat.redis, [message("m")], now=NOW)
    taken_in(beat)
    assert intake.give_back(beat.redis, "notice", now=NOW + timedelta(hours=1)) == 0
    assert beat.redis.keys("sms:intake:*") == []


def test_a_worker_is_given_no_more_than_it_can_keep_in_a_moment(beat: Published) -> None:
    many = [message(f"m{n:04}", mobile(n)) for n in range(intake.TAKEN_AT_ONCE + 1)]
    intake.put(beat.redis, many, now=NOW)
    assert len(intake.take(beat.redis, "notice", now=NOW)) == intake.TAKEN_AT_ONCE
    assert list(intake.take(beat.redis, "notice", now=NOW)) == [many[-1].id.encode()]
    large = [message(f"n{n}", *map(mobile, range(10_000))) for n in range(10)]
    intake.put(beat.redis, large, now=NOW)
    assert 1 < len(intake.take(beat.redis, "notice", now=NOW)) < 10


def test_a_gate_that_may_be_probed_gets_a_task(beat: Published) -> None:
    account_id = beat.ledger.account_ids["default"]
    beat.ledger.accept(message("m"))
    with beat.ledger.engine.begin() as connection:
        gates.close(connection, account_id, "wrong", now=NOW, until=NOW + timedelta(minutes=1))
    assert beat.tick(NOW) == []
    assert beat.tick(NOW + timedelta(minutes=1)) == [("probe", account_id)]


def test_a_worker_that_was_lost_in_the_call_leaves_it_unknown(beat: Published) -> None:
    (submission_id,) = beat.ledger.accept(message("m"))["m"]
    beat.ledger.claim([submission_id])
    assert beat.tick(NOW + LEASE) == []
    assert beat.ledger.states() == {"unknown": 1}


def test_a_worker_that_was_lost_in_the_call_has_it_sent_once_more_in_a_lane_that_says_so(beat: Published) -> None:
    [submission_ids] = beat.ledger.accept(message("m", lane="marketing")).values()
    beat.ledger.claim(submission_ids)
    assert beat.tick(NOW + LEASE) == []
    assert beat.tick(NOW + LEASE + BACKOFF_FIRST) == [("work", "marketing")]
    assert [one.id for one in beat.ledger.pull(NOW + LEASE + BACKOFF_FIRST, "marketing").claimed] == submission_ids


def test_what_was_accepted_three_days_ago_waits_for_its_report_no_longer(beat: Published) -> None:
    [submission_ids] = beat.ledger.accept(message("m")).values()
    beat.ledger.claim(submission_ids)
    beat.ledger.record(Recorded(submission_ids[0], 1, State.ACCEPTED, None, "1", None))
    beat.tick(NOW + timedelta(hours=72) - timedelta(seconds=1))
    assert beat.ledger.states() == {"accepted": 1}
    beat.tick(NOW + timedelta(hours=72))
    assert beat.ledger.states() == {"unreported": 1}


def test_a_push_whose_task_was_lost_gets_another(beat: Published) -> None:
    with beat.ledger.engine.begin() as connection:
        push_id = pushes.add(connection, b"<x/>", source="127.0.0.1", received_at=NOW)
    assert beat.tick(NOW + pushes.STRAY_AFTER) == [("process_push", push_id)]


def test_behind_a_long_queue_a_push_gets_no_second_task(beat: Published) -> None:
    with beat.ledger.engine.begin() as connection:
        pushes.add(connection, b"<x/>", source="127.0.0.1", received_at=NOW)
    beat.redis.rpush("sms.push", *range(tick.PUSHES_QUEUED))
    assert beat.tick(NOW + pushes.STRAY_AFTER) == []


def test_a_push_that_went_to_redis_is_moved_to_the_ledger_with_its_time(beat: Published) -> None:
    body = status_push((mobile(1), 7, 1)).encode()
    intake_pushes.put(beat.redis, "p", body, source="10.0.0.1", now=NOW)
    assert beat.tick(NOW) == [("keep_pushes", None)]
    (push_id,) = keep_pushes(beat.ledger.engine, beat.redis, now=NOW)
    (row,) = beat.ledger.rows(pushes_table)
    assert (row["id"], row["body"], row["source"], row["received_at"]) == (push_id, body, "10.0.0.1", NOW)
    assert keep_pushes(beat.ledger.engine, beat.redis, now=NOW) == []
    assert intake.depth(beat.redis)["push"] == 0


def test_once_a_minute_the_tick_has_settled_what_is_unknown(beat: Published) -> None:
    for _ in range(3):
        beat.tick(NOW)
    assert 0 < beat.redis.ttl("sms:settle") <= 60
    beat.redis.delete("sms:settle")  # as if the minute were over
    tick.settle_by_and_by(beat.redis)
    assert [name for name, _ in beat._drained("sms.upkeep")] == ["settle"]


def test_each_worker_tells_clients_its_accounts_once_a_minute(redis: Redis) -> None:
    now = [0.0]
    announce = announcing(redis, ["default"], lambda: NOW, lambda: now[0])
    announce()
    assert announced.known(redis) == {"default"}
    redis.delete("sms:accounts:known")
    now[0] = 59
    announce()
    assert announced.known(redis) is None
    now[0] = 60
    announce()
    assert announced.known(redis) == {"default"}


def test_what_the_ledger_has_is_taken_out_of_the_intake(beat: Published) -> None:
    intake.put(beat.redis, [message("m"), message("n")], now=NOW)
    taken_in(beat)
    assert intake.depth(beat.redis)["notice"] == 0
    assert {row["public_id"] for row in beat.ledger.rows(messages)} == {"m", "n"}


def test_a_message_that_the_ledger_did_not_get_stays_in_the_intake(beat: Published) -> None:
    intake.put(beat.redis, [message("m")], now=NOW)

    def ledger_is_away(_: Sequence[Message]) -> None:
        raise ConnectionError

    with pytest.raises(ConnectionError):
        taken_in(beat, accept=ledger_is_away)
    assert intake.depth(beat.redis)["notice"] == 1


def test_what_lies_in_the_intake_and_cannot_be_sent_is_kept_as_refused(beat: Published) -> None:
    intake.put(beat.redis, [message("broken")], now=NOW)
    beat.redis.hset("sms:intake:notice", "broken", "{")
    taken_in(beat)
    assert beat.ledger.rows(messages) == []
    told = {row["id"]: json.loads(str(row["faults"]))[0] for row in beat.ledger.rows(refused)}
    assert "is not JSON" in told["broken"]
    assert intake.depth(beat.redis)["notice"] == 0


def put_by_hand(redis: Redis, item_id: bytes, item: bytes) -> None:
    redis.hset("sms:intake:notice", item_id, item)
    redis.zadd("sms:intake:notice:waiting", {item_id: NOW.timestamp()})


def as_item(**fields: object) -> bytes:
    return json.dumps(json.loads(to_json(message("m"))) | fields).encode()


BY_HAND = {
    "bad UTF-8": (b'{"content": "\xff"}', "is not JSON in UTF-8", '{"content": "\\xff"}'),
    "a NUL byte": (b"\0", "is not JSON", "\\x00"),
    "nested without end": (b"[" * 50_000, "is not JSON", "[" * 50_000),
    "an unknown lane": (as_item(lane="vip"), "lane 'vip' is unknown", None),
    "another lane": (as_item(lane="otp"), "lane 'otp' lies in the intake of notice", None),
    "another id": (as_item(id="n"), "id is not the id that it lies under", None),
    "null content": (as_item(content=None), "content is missing", None),
    "half an emoji": (as_item(content="\ud83d"), "content has the character U+D83D", None),
    "a NUL as caller": (as_item(caller="\0"), "caller is a name", None),
    "the year 9999": (as_item(at="9999-12-31T23:59:59+00:00"), "at 9999-12-31T23:59:59+00:00 is more than", None),
    "nothing at all": (b"", "is not JSON", None),
    "a list": (b"[]", "and not a mapping", None),
    "deep metadata": (as_item(metadata={"x": json.loads("[" * 900 + "]" * 900)}), "metadata is nested deeper", None),
    "far too long": (b"x" * 1_500_000, "is not JSON", "x" * 1_000_000 + "… and 500000 bytes more"),
}


@pytest.mark.parametrize(("item", "told", "kept"), BY_HAND.values(), ids=BY_HAND)
def test_whatever_somebody_puts_into_the_intake_is_refused_with_its_reason_and_its_neighbours_go_on(
    beat: Published, item: bytes, told: str, kept: str | None
) -> None:
    put_by_hand(beat.redis, b"m", item)
    intake.put(beat.redis, [message("good")], now=NOW)
    assert intake.find(beat.redis, "m") is None
    taken_in(beat)
    assert [row["public_id"] for row in beat.ledger.rows(messages)] == ["good"]
    (row,) = beat.ledger.rows(refused)
    assert row["id"] == "m"
    assert told in str(row["faults"]).replace("\\\\", "\\")
    assert row["payload"] == (item.decode() if kept is None else kept)
    assert intake.depth(beat.redis)["notice"] == 0
    assert not beat.redis.zcard("sms:intake:notice:taken")


def test_what_lies_in_the_intake_under_no_id_is_refused_under_one(beat: Published) -> None:
    for item_id in (b"", b"\xff\0", b"x" * 100):
        put_by_hand(beat.redis, item_id, as_item())
    taken_in(beat)
    assert len({str(row["id"]) for row in beat.ledger.rows(refused)}) == 3
    assert all(is_id(str(row["id"])) for row in beat.ledger.rows(refused))
    assert intake.depth(beat.redis)["notice"] == 0


@pytest.mark.parametrize(
    "fault", [{"content": "\ud83d"}, {"to": (mobile(1), mobile(2), mobile(1))}], ids=["text", "to"]
)
def test_one_message_that_the_ledger_cannot_hold_is_refused_and_the_400_beside_it_are_accepted(
    ledger: Ledger, fault: dict[str, Any]
) -> None:
    tries = []

    def accept(some: Sequence[Message]) -> None:
        tries.append(len(some))
        ledger.accept(*some)

    # As a fault of ours would have it: what is read could not become such a message.
    bad = replace(message("bad"), **fault)
    some = [message(f"m{n}") for n in range(400)]
    accept_each(accept, partial(refuse, ledger.engine), [*some[:200], bad, *some[200:]], now=NOW)
    assert len(ledger.rows(messages)) == 400
    (row,) = ledger.rows(refused)
    assert row["id"] == "bad"
    assert (
        json.loads(str(row["payload"])).items()
        >= {name: list(what) if name == "to" else what for name, what in fault.items()}.items()
    )
    assert "the ledger cannot hold it" in str(row["faults"])
    assert len(tries) < 25


def test_a_ledger_that_is_away_refuses_nothing(beat: Published) -> None:
    def ledger_is_away(_: Sequence[Message]) -> None:
        raise OperationalError("INSERT", {}, ConnectionError())

    intake.put(beat.redis, [message("m")], now=NOW)
    with pytest.raises(OperationalError):
        taken_in(beat, accept=ledger_is_away)
    assert beat.ledger.rows(refused) == []
    assert intake.depth(beat.redis)["notice"] == 1


def test_what_lies_among_the_pushes_and_is_none_is_kept_to_be_quarantined(beat: Published) -> None:
    for number, item in enumerate((b"{", b"\xff", b"[" * 50_000, b'{"body": 1}')):
        beat.redis.hset("sms:intake:push", str(number), item)
        beat.redis.zadd("sms:intake:push:waiting", {str(number): NOW.timestamp()})
    assert len(keep_pushes(beat.ledger.engine, beat.redis, now=NOW)) == 4
    assert intake.depth(beat.redis)["push"] == 0


def test_a_message_of_an_account_that_this_worker_does_not_know_waits_for_one_that_does(beat: Published) -> None:
    with beat.ledger.engine.begin() as connection:
        known = ledger_accounts.register(connection, ["default", "shop"], first_msg_id=100, now=NOW)
    intake.put(beat.redis, [message("m", account="shop"), message("n")], now=NOW)
    assert taken_in(beat)
    # It is not taken again: whoever takes in goes on until there is nothing more.
    assert not taken_in(beat)
    assert not taken_in(beat, now=NOW + timedelta(seconds=30))
    assert [row["public_id"] for row in beat.ledger.rows(messages)] == ["n"]
    assert intake_parked.counts(beat.redis) == {"shop": 1}
    assert ("work", "notice") in beat.tick(NOW + timedelta(seconds=6))
    beat.ledger.account_ids |= known
    taken_in(beat, accounts={"default", "shop"})
    assert [row["public_id"] for row in beat.ledger.rows(messages)] == ["n", "m"]
    assert beat.ledger.rows(refused) == []
    assert intake.depth(beat.redis)["notice"] == 0
    assert intake_parked.counts(beat.redis) == {}


@pytest.mark.parametrize(("lane", "fields", "valid"), [("otp", {}, 300), ("notice", {"valid_for": 60}, 60)])
def test_a_message_whose_account_no_worker_knows_is_refused_when_it_is_past_its_validity(
    beat: Published, lane: str, fields: dict[str, object], valid: int
) -> None:
    intake.put(beat.redis, [message("m", account="other", lane=lane, **fields)], now=NOW)
    taken_in(beat, lane, now=NOW + timedelta(seconds=valid - 1))
    assert beat.ledger.rows(refused) == []
    taken_in(beat, lane, now=NOW + timedelta(seconds=valid + 6))
    (row,) = beat.ledger.rows(refused)
    assert json.loads(str(row["faults"])) == [
        "account 'other' was unknown for as long as it was valid; the accounts are: default"
    ]
    assert intake.depth(beat.redis)[lane] == 0


def test_the_accounts_of_workers_with_other_settings_stay_known_and_those_of_none_are_forgotten(redis: Redis) -> None:
    announced.announce(redis, ["default", "old"], now=NOW)
    announced.announce(redis, ["default", "new"], now=NOW + timedelta(seconds=1))
    assert announced.known(redis) == {"default", "old", "new"}
    assert announced.known_to_all(redis, now=NOW + timedelta(minutes=9)) is None
    later = NOW + timedelta(minutes=11)
    announced.announce(redis, ["default", "new"], now=later)
    assert announced.known(redis) == announced.known_to_all(redis, now=later) == {"default", "new"}


TASK_ID = "0ddba11f-0000-4000-8000-000000000001"


def by_name(
    beat: Published, fields: object, task_id: str = TASK_ID, caller: str = "shop", queue: str | None = None
) -> str:
    """Has a message by name accepted, or refused; its lane."""
    lane = put_by_name(beat.redis, fields, task_id, caller=caller, queue=queue, now=NOW)
    taken_in(beat, lane)
    assert intake.depth(beat.redis)[lane] == 0
    return lane


def test_a_message_by_name_is_named_by_its_task_so_that_the_task_again_is_the_same_message(beat: Published) -> None:
    fields = {"to": ["13800138000"], "content": "您好"}
    assert by_name(beat, fields) == by_name(beat, fields) == "notice"
    assert [row["public_id"] for row in beat.ledger.rows(messages)] == [TASK_ID]
    assert [row["caller"] for row in beat.ledger.rows(submissions)] == ["shop"]


@pytest.mark.parametrize(
    ("fields", "told"),
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
    beat: Published, fields: object, told: list[str]
) -> None:
    assert by_name(beat, fields) == by_name(beat, fields) == "otp"
    (row,) = beat.ledger.rows(refused)
    assert row["id"] == TASK_ID
    assert json.loads(str(row["payload"])) == fields
    for fault, start in zip(json.loads(str(row["faults"])), told, strict=True):
        assert fault.startswith(start)


@pytest.mark.parametrize("fields", [{"to": {1, 2}}, {"at": NOW, "x": NOW}, {"to": [10**5000]}, {"x": {(1, 2): 3}}])
def test_what_comes_by_name_and_cannot_be_written_as_json_is_refused_too(beat: Published, fields: object) -> None:
    assert by_name(beat, fields) == "otp"
    assert len(beat.ledger.rows(refused)) == 1


def test_a_machine_of_any_name_may_send_by_name(beat: Published) -> None:
    fields = {"to": "13800138000", "content": "您好"}
    for number, machine in enumerate(["\0", "\ud83d", "x" * 300, "campaign/7"]):
        assert by_name(beat, fields, task_id=f"t{number}", caller=machine) == "notice"
    assert {row["caller"] for row in beat.ledger.rows(submissions)} == {"?", "x" * 64, "?campaign/7"}


@pytest.mark.parametrize("lane", LANES)
def test_a_message_by_name_is_of_the_lane_whose_queue_it_came_by(beat: Published, lane: str) -> None:
    fields = {"to": "13800138000", "content": "您好"}
    assert by_name(beat, fields, queue=LANES[lane].queue) == lane
    assert by_name(beat, fields | {"lane": lane}, task_id="named", queue=LANES[lane].queue) == lane
    assert [row["lane"] for row in beat.ledger.rows(messages)] == [lane, lane]


def test_a_message_by_name_whose_lane_is_not_that_of_its_queue_is_refused(beat: Published) -> None:
    fields = {"to": "13800138000", "content": "您好", "lane": "notice"}
    assert by_name(beat, fields, queue="sms.otp") == "otp"
    (row,) = beat.ledger.rows(refused)
    assert "lane 'notice' came by the queue sms.otp; send it to sms.notice, or name no lane" in str(row["faults"])


def test_a_message_by_name_that_came_by_no_queue_of_a_lane_is_refused_unless_it_names_one(beat: Published) -> None:
    fields = {"to": "13800138000", "content": "您好"}
    by_name(beat, fields, queue="sms.upkeep")
    (row,) = beat.ledger.rows(refused)
    assert "lane is missing, and the queue sms.upkeep is that of no lane; send it to one of sms.otp," in str(
        row["faults"]
    )
    assert by_name(beat, fields | {"lane": "otp"}, task_id="named", queue="sms.upkeep") == "otp"


def test_a_message_by_name_of_an_account_that_this_worker_does_not_know_waits_in_the_intake(beat: Published) -> None:
    fields = {"to": "13800138000", "content": "您好", "account": "x"}
    assert put_by_name(beat.redis, fields, TASK_ID, caller="shop", queue="sms.otp", now=NOW) == "otp"
    taken_in(beat, "otp")
    assert beat.ledger.rows(refused) == beat.ledger.rows(messages) == []
    waiting = intake.find(beat.redis, TASK_ID)
    assert waiting
    assert (waiting.account, waiting.caller) == ("x", "shop")


def test_a_task_id_that_is_no_id_of_ours_still_names_one_message(beat: Published) -> None:
    for _ in range(2):
        by_name(beat, {"to": "13800138000", "content": "您好"}, task_id="订单 " * 100)
    assert len(beat.ledger.rows(messages)) == 1


def test_a_key_that_another_message_has_by_name_is_refused_under_the_id_of_the_task(beat: Published) -> None:
    fields = {"to": "13800138000", "content": "您的验证码是 123456", "key": "k"}
    by_name(beat, fields)
    by_name(beat, fields, task_id="again")
    by_name(beat, fields | {"content": "您的验证码是 654321"}, task_id="another")
    by_name(beat, fields | {"content": "您的验证码是 654321", "caller": "web"}, task_id="of-another-caller")
    assert len(beat.ledger.rows(messages)) == 2
    (row,) = beat.ledger.rows(refused)
    assert row["id"] == "another"
    assert "key was used for another message on 2026-11-22: first notice to ****8000" in str(row["faults"])


def test_a_message_whose_id_the_ledger_has_for_another_one_is_refused_and_one_that_comes_twice_is_not(
    beat: Published,
) -> None:
    intake.put(beat.redis, [message("m")], now=NOW)
    taken_in(beat)
    for lane, fields in (("notice", {}), ("notice", {"content": "别的"}), ("otp", {"lane": "otp"})):
        intake.put(beat.redis, [message("m", **fields)], now=NOW)
        taken_in(beat, lane)
        assert len(beat.ledger.rows(refused)) == (1 if fields else 0)
    intake.put(beat.redis, [message("n"), message("o", mobile(1))], now=NOW)
    taken_in(beat)
    accept_each(lambda some: beat.ledger.accept(*some), partial(refuse, beat.ledger.engine), [message("o")], now=NOW)
    assert {row["id"] for row in beat.ledger.rows(refused)} == {"m", "o"}
    assert "its id or key is that of another message" in str(beat.ledger.rows(refused)[0]["faults"])


def test_the_tick_begins_the_runs_that_are_due_and_has_them_prepared_every_second(beat: Published) -> None:
    campaigns = Campaigns(beat.ledger)
    campaigns.audience(10)
    campaigns.start()
    assert beat.tick(NOW) == [("launch", 1)]
    assert beat.tick(NOW + timedelta(seconds=1)) == [("launch", 1)]
    campaigns.pause()
    assert beat.tick(NOW + timedelta(seconds=2)) == []


def test_of_more_runs_than_a_queue_has_room_for_each_has_its_turn(beat: Published) -> None:
    runs = 3 * bells.FEW
    campaigns = Campaigns(beat.ledger)
    campaigns.audience(10)
    for number in range(runs):
        campaigns.start(replace(SPEC, name=f"c{number:02}"))
    launched = set()
    for second in range(runs):
        # What waits there already leaves room for few.
        beat.redis.rpush("sms.marketing", *range(bells.FEW - 1))
        launched |= {run_id for name, run_id in beat.tick(NOW + timedelta(seconds=second)) if name == "launch"}
    assert launched == set(range(1, runs + 1))


def test_a_full_redis_takes_a_message_by_name_which_it_has_just_given_out(redis: Redis) -> None:
    redis.config_set("maxmemory", 1)
    try:
        for number, fields in enumerate(({"to": mobile(1), "content": "您好"}, {"to": "1", "content": ""})):
            put_by_name(redis, fields, f"task-{number}", caller="shop", queue="sms.otp", now=NOW)
    finally:
        redis.config_set("maxmemory", 0)
    assert intake.depth(redis)["otp"] == 2

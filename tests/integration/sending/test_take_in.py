"""Workers take in what waits in the intake: a message becomes rows of the ledger, and all else is refused with its
reason.
"""

import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from functools import partial
from typing import Any

import pytest
from intake_driver import taken_in
from ledger_driver import NOW, Ledger, message, mobile
from redis import Redis
from sqlalchemy.exc import OperationalError

from worker.domain.message import Message, is_id
from worker.domain.message_json import to_json
from worker.ledger import tables as t
from worker.redis_store import intake
from worker.sending.take_in import accept_each, refuse


def test_what_the_ledger_has_does_not_wait_again(ledger: Ledger, redis: Redis) -> None:
    intake.put(redis, [message("m")], now=NOW)
    taken_in(ledger, redis)
    assert intake.requeue_lost(redis, "notice", now=NOW + timedelta(hours=1)) == 0
    assert redis.keys("sms:intake:*") == []


def test_a_worker_is_given_no_more_than_it_can_keep_in_a_moment(redis: Redis) -> None:
    many = [message(f"m{n:04}", mobile(n)) for n in range(intake.TAKEN_AT_ONCE + 1)]
    intake.put(redis, many, now=NOW)
    assert len(intake.take(redis, "notice", now=NOW)) == intake.TAKEN_AT_ONCE
    assert list(intake.take(redis, "notice", now=NOW)) == [many[-1].id.encode()]
    large = [message(f"n{n}", *map(mobile, range(10_000))) for n in range(10)]
    intake.put(redis, large, now=NOW)
    assert 1 < len(intake.take(redis, "notice", now=NOW)) < 10


def test_what_the_ledger_has_is_taken_out_of_the_intake(ledger: Ledger, redis: Redis) -> None:
    intake.put(redis, [message("m"), message("n")], now=NOW)
    taken_in(ledger, redis)
    assert intake.depth(redis)["notice"] == 0
    assert {row["public_id"] for row in ledger.rows(t.messages)} == {"m", "n"}


def test_a_message_that_the_ledger_did_not_get_stays_in_the_intake(ledger: Ledger, redis: Redis) -> None:
    intake.put(redis, [message("m")], now=NOW)

    def ledger_is_away(_: Sequence[Message]) -> None:
        raise ConnectionError

    with pytest.raises(ConnectionError):
        taken_in(ledger, redis, accept=ledger_is_away)
    assert intake.depth(redis)["notice"] == 1


def test_what_lies_in_the_intake_and_cannot_be_sent_is_kept_as_refused(ledger: Ledger, redis: Redis) -> None:
    intake.put(redis, [message("broken")], now=NOW)
    redis.hset("sms:intake:notice", "broken", "{")
    taken_in(ledger, redis)
    assert ledger.rows(t.messages) == []
    faults = {row["id"]: json.loads(str(row["faults"]))[0] for row in ledger.rows(t.refused)}
    assert "is not JSON" in faults["broken"]
    assert intake.depth(redis)["notice"] == 0


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


@pytest.mark.parametrize(("item", "reason", "kept"), BY_HAND.values(), ids=BY_HAND)
def test_whatever_somebody_puts_into_the_intake_is_refused_with_its_reason_and_its_neighbours_go_on(
    ledger: Ledger, redis: Redis, item: bytes, reason: str, kept: str | None
) -> None:
    put_by_hand(redis, b"m", item)
    intake.put(redis, [message("good")], now=NOW)
    assert intake.find(redis, "m") is None
    taken_in(ledger, redis)
    assert [row["public_id"] for row in ledger.rows(t.messages)] == ["good"]
    (row,) = ledger.rows(t.refused)
    assert row["id"] == "m"
    assert reason in str(row["faults"]).replace("\\\\", "\\")
    assert row["payload"] == (item.decode() if kept is None else kept)
    assert intake.depth(redis)["notice"] == 0
    assert not redis.zcard("sms:intake:notice:taken")


def test_what_lies_in_the_intake_under_no_id_is_refused_under_one(ledger: Ledger, redis: Redis) -> None:
    for item_id in (b"", b"\xff\0", b"x" * 100):
        put_by_hand(redis, item_id, as_item())
    taken_in(ledger, redis)
    assert len({str(row["id"]) for row in ledger.rows(t.refused)}) == 3
    assert all(is_id(str(row["id"])) for row in ledger.rows(t.refused))
    assert intake.depth(redis)["notice"] == 0


@pytest.mark.parametrize(
    "fault", [{"content": "\ud83d"}, {"to": (mobile(1), mobile(2), mobile(1))}], ids=["text", "to"]
)
def test_one_message_that_the_ledger_cannot_hold_is_refused_and_the_400_beside_it_are_accepted(
    ledger: Ledger, fault: dict[str, Any]
) -> None:
    tries = []

    def accept(messages: Sequence[Message]) -> None:
        tries.append(len(messages))
        ledger.accept(*messages)

    # Only a fault of ours can make such a message: no item of the intake is read as one.
    bad = replace(message("bad"), **fault)
    good = [message(f"m{n}") for n in range(400)]
    accept_each(accept, partial(refuse, ledger.engine), [*good[:200], bad, *good[200:]], now=NOW)
    assert len(ledger.rows(t.messages)) == 400
    (row,) = ledger.rows(t.refused)
    assert row["id"] == "bad"
    assert (
        json.loads(str(row["payload"])).items()
        >= {name: list(what) if name == "to" else what for name, what in fault.items()}.items()
    )
    assert "the ledger cannot hold it" in str(row["faults"])
    assert len(tries) < 25


def test_a_ledger_that_is_away_refuses_nothing(ledger: Ledger, redis: Redis) -> None:
    def ledger_is_away(_: Sequence[Message]) -> None:
        raise OperationalError("INSERT", {}, ConnectionError())

    intake.put(redis, [message("m")], now=NOW)
    with pytest.raises(OperationalError):
        taken_in(ledger, redis, accept=ledger_is_away)
    assert ledger.rows(t.refused) == []
    assert intake.depth(redis)["notice"] == 1


@pytest.mark.parametrize(("lane", "fields", "valid"), [("otp", {}, 300), ("notice", {"valid_for": 60}, 60)])
def test_a_message_whose_account_no_worker_knows_is_refused_when_it_is_past_its_validity(
    ledger: Ledger, redis: Redis, lane: str, fields: dict[str, object], valid: int
) -> None:
    intake.put(redis, [message("m", account="other", lane=lane, **fields)], now=NOW)
    taken_in(ledger, redis, lane, now=NOW + timedelta(seconds=valid - 1))
    assert ledger.rows(t.refused) == []
    taken_in(ledger, redis, lane, now=NOW + timedelta(seconds=valid + 6))
    (row,) = ledger.rows(t.refused)
    assert json.loads(str(row["faults"])) == [
        "account 'other' was unknown for as long as it was valid; the accounts are: default"
    ]
    assert intake.depth(redis)[lane] == 0


def test_a_message_whose_id_the_ledger_has_for_another_one_is_refused_and_one_that_comes_twice_is_not(
    ledger: Ledger,
    redis: Redis,
) -> None:
    intake.put(redis, [message("m")], now=NOW)
    taken_in(ledger, redis)
    for lane, fields in (("notice", {}), ("notice", {"content": "别的"}), ("otp", {"lane": "otp"})):
        intake.put(redis, [message("m", **fields)], now=NOW)
        taken_in(ledger, redis, lane)
        assert len(ledger.rows(t.refused)) == (1 if fields else 0)
    intake.put(redis, [message("n"), message("o", mobile(1))], now=NOW)
    taken_in(ledger, redis)
    accept_each(lambda messages: ledger.accept(*messages), partial(refuse, ledger.engine), [message("o")], now=NOW)
    assert {row["id"] for row in ledger.rows(t.refused)} == {"m", "o"}
    assert "its id or key is that of another message" in str(ledger.rows(t.refused)[0]["faults"])

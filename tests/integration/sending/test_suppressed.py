"""Recipients that are left out by the caps of their lane when a message is accepted: on both databases, and a real Valkey."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ledger_driver import NOW, Ledger, message, mobile, status_push
from redis import Redis
from redis.exceptions import ConnectionError as RedisConnectionError
from sms_command import sms, sms_json
from sqlalchemy import event, insert
from sqlalchemy.exc import IntegrityError, OperationalError

from worker.cli.waiting import wait_for
from worker.domain.caps import Cap
from worker.domain.lane import LANES, Lane
from worker.domain.message import Message
from worker.ledger import backlog
from worker.ledger import tables as t
from worker.ledger.engine import reading
from worker.ledger.sending import message_queries, unknown
from worker.redis_store import caps
from worker.redis_store.caps import counter
from worker.redis_store.connect import open_redis
from worker.wiring import Parts, build_parts

ONCE_A_MINUTE = LANES | {name: replace(LANES[name], caps=(Cap(1, 60),)) for name in ("otp", "notice")}
THREE_AN_HOUR = LANES | {"notice": replace(LANES["notice"], caps=(Cap(3, 3600),))}


def accept(
    ledger: Ledger, redis: Redis, *new: Message, lanes: Mapping[str, Lane] = ONCE_A_MINUTE, now: datetime = NOW
) -> None:
    ledger.accept(
        *new,
        lanes=lanes,
        room=partial(caps.room, redis, lanes, now=now),
        count=partial(caps.count, redis, lanes, now=now),
    )


def fates(ledger: Ledger) -> dict[str, dict[str, int]]:
    ids = [str(row["public_id"]) for row in ledger.rows(t.messages)]
    with reading(ledger.engine) as connection:
        return message_queries.counts_by_id(connection, ids)


def code(message_id: str, *to: str, **fields: object) -> Message:
    return message(message_id, *to, lane="otp", **fields)


def test_who_is_over_the_cap_is_left_out_and_the_others_are_sent_to(ledger: Ledger, redis: Redis) -> None:
    accept(ledger, redis, message("m", mobile(1)))
    accept(ledger, redis, message("n", mobile(1), mobile(2), content="别的"), now=NOW + timedelta(seconds=59))
    accept(ledger, redis, message("o", mobile(1), content="晚的"), now=NOW + timedelta(seconds=61))
    assert fates(ledger) == {"m": {"queued": 1}, "n": {"queued": 1, "suppressed": 1}, "o": {"queued": 1}}
    assert [len(call.mobiles) for call in ledger.pull().claimed] == [1, 1, 1]


def test_a_message_whose_recipients_are_all_left_out_makes_no_call_and_is_complete(
    ledger: Ledger, redis: Redis
) -> None:
    accept(ledger, redis, code("m"))
    accept(ledger, redis, code("n"))
    assert len(ledger.rows(t.submissions)) == 1
    fate = wait_for(ledger.engine, ["n"], 0)
    assert (fate.counts, fate.final) == ({"suppressed": 1}, True)


def test_a_message_that_comes_twice_is_counted_once_and_not_left_out_by_itself(ledger: Ledger, redis: Redis) -> None:
    for _ in range(3):
        accept(ledger, redis, message("m"), lanes=THREE_AN_HOUR)
    accept(ledger, redis, message("n", content="别的"), message("n"), lanes=THREE_AN_HOUR)
    accept(ledger, redis, message("m"), message("o", content="第三"), lanes=THREE_AN_HOUR)
    accept(ledger, redis, message("p", content="第四"), lanes=THREE_AN_HOUR)
    assert fates(ledger) == {"m": {"queued": 1}, "n": {"queued": 1}, "o": {"queued": 1}, "p": {"suppressed": 1}}


def test_within_a_batch_the_first_messages_to_a_mobile_take_its_room(ledger: Ledger, redis: Redis) -> None:
    batch = [message(f"m{n}", mobile(1), mobile(2 + n), content=f"第{n}") for n in range(5)]
    accept(ledger, redis, *batch, lanes=THREE_AN_HOUR)
    accept(ledger, redis, message("late", mobile(1)), lanes=THREE_AN_HOUR)
    told_apart = {f"m{n}": {"queued": 2} if n < 3 else {"queued": 1, "suppressed": 1} for n in range(5)}
    assert fates(ledger) == told_apart | {"late": {"suppressed": 1}}


def test_a_batch_of_the_same_text_leaves_out_the_right_ones_and_fills_its_calls(ledger: Ledger, redis: Redis) -> None:
    accept(ledger, redis, message("first", *map(mobile, range(30))))
    accept(ledger, redis, *(message(f"m{n}", mobile(n), content="别的") for n in range(80)))
    claimed = ledger.pull().claimed
    assert sorted(len(call.mobiles) for call in claimed) == [30, 50]
    assert ledger.statuses() == {mobile(n): "submitting" for n in range(30, 80)} | {
        mobile(n): "suppressed" for n in range(30)
    }


def test_a_commit_that_fails_counts_nothing_and_is_tried_again(ledger: Ledger, redis: Redis) -> None:
    @event.listens_for(ledger.engine, "commit", once=True)
    def _fail(_connection: object) -> None:
        raise OperationalError("COMMIT", {}, Exception("the ledger went away"))

    with pytest.raises(OperationalError):
        accept(ledger, redis, code("m"))
    assert redis.keys("sms:cap/*") == []
    accept(ledger, redis, code("m"))
    assert fates(ledger) == {"m": {"queued": 1}}


def test_who_is_killed_between_the_commit_and_the_count_forgives_it(ledger: Ledger, redis: Redis) -> None:
    def killed(_sent: object) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        ledger.accept(
            code("m"), lanes=ONCE_A_MINUTE, room=partial(caps.room, redis, ONCE_A_MINUTE, now=NOW), count=killed
        )
    accept(ledger, redis, code("m"))
    accept(ledger, redis, code("n"))
    accept(ledger, redis, code("o"))
    assert fates(ledger) == {"m": {"queued": 1}, "n": {"queued": 1}, "o": {"suppressed": 1}}


def test_without_redis_nothing_is_accepted_in_a_lane_with_caps_and_everything_in_others(ledger: Ledger) -> None:
    away = open_redis("redis://127.0.0.1:1/0", patience_seconds=0.2)
    with pytest.raises(RedisConnectionError):
        accept(ledger, away, code("m"))
    accept(ledger, away, message("n", lane="marketing"))
    assert fates(ledger).keys() == {"n"}


def test_a_count_that_cannot_be_made_is_told_and_stops_nothing(
    ledger: Ledger, redis: Redis, caplog: pytest.LogCaptureFixture
) -> None:
    settings: Any = SimpleNamespace(lanes=ONCE_A_MINUTE)
    room = partial(caps.room, redis, ONCE_A_MINUTE, now=NOW)
    away = open_redis("redis://127.0.0.1:1/0", patience_seconds=0.2)
    ledger.accept(code("m"), lanes=ONCE_A_MINUTE, room=room, count=counter(away, settings.lanes, lambda: NOW))
    assert "1 recipients are sent to and not counted by the caps" in caplog.text
    # This is as if each worker had looked before the other had counted.
    for message_id in ("n", "o"):
        ledger.accept(
            code(message_id),
            lanes=ONCE_A_MINUTE,
            room=lambda wanted: dict.fromkeys(wanted, 1),
            count=counter(redis, settings.lanes, lambda: NOW),
        )
    assert "1 recipients are sent to beyond a cap" in caplog.text
    assert fates(ledger) == {message_id: {"queued": 1} for message_id in "mno"}


@pytest.fixture
def worker(ledger_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], Parts]]:
    """Makes the parts of a worker with the Redis of that URL."""
    (tmp_path / "sms.toml").write_text('[lanes.otp]\ncaps = ["1/hour", "5/day"]')
    settings = {"LEDGER_URL": ledger_url, "EPR_ID": "1", "USER_ID": "u", "PASSWORD": "p"}
    for name, value in (settings | {"CONFIG": str(tmp_path / "sms.toml")}).items():
        monkeypatch.setenv(f"SMS_{name}", value)
    workers: list[Parts] = []

    def make(url: str) -> Parts:
        monkeypatch.setenv("SMS_REDIS_URL", url)
        workers.append(build_parts.__wrapped__(1))
        return workers[-1]

    yield make
    for parts in workers:
        parts.base.engine.dispose()


def test_a_worker_holds_the_caps_of_its_settings(
    worker: Callable[[str], Parts], redis_url: str, ledger: Ledger
) -> None:
    here = worker(redis_url)
    for message_id in "mn":
        here.sending.accept(
            [code(message_id, mobile(1)), code(f"{message_id}2", mobile(2 if message_id == "m" else 3))]
        )
    assert fates(ledger) == {"m": {"queued": 1}, "m2": {"queued": 1}, "n": {"suppressed": 1}, "n2": {"queued": 1}}


def test_a_report_from_elsewhere_changes_nothing_for_who_was_left_out(ledger: Ledger, redis: Redis) -> None:
    accept(ledger, redis, code("m"))
    accept(ledger, redis, code("n"))
    ledger.push(status_push((mobile(0), 100, 1)))
    assert fates(ledger) == {"m": {"delivered": 1}, "n": {"suppressed": 1}}
    with ledger.engine.begin() as connection:
        assert backlog.unknown(connection) == 0
        assert unknown.accept_reported(connection, now=NOW) == 0


@pytest.mark.parametrize("both", [True, False])
def test_a_recipient_has_either_a_submission_or_a_reason(ledger: Ledger, both: bool) -> None:
    [[submission_id]] = ledger.accept(message("m", mobile(1))).values()
    [row] = ledger.rows(t.messages)
    values = {"submission_id": submission_id, "suppressed": "cap"} if both else {}
    with pytest.raises(IntegrityError), ledger.engine.begin() as connection:
        connection.execute(insert(t.recipients).values(message_id=row["id"], mobile=mobile(2), **values))


def test_show_says_why_and_messages_counts_them(
    ledger: Ledger, redis: Redis, ledger_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SMS_LEDGER_URL", ledger_url)
    accept(ledger, redis, code("m", mobile(1)))
    accept(ledger, redis, code("n", mobile(1), mobile(2)))
    shown = sms_json("show", "n")
    assert shown["counts"] == {"queued": 1, "suppressed": 1}
    assert shown["recipients"][0] == {
        "mobile": mobile(1),
        "status": "suppressed",
        "reason": "it was left out: its mobile had been sent to as often as the caps of the lane allow",
        "msg_id": None,
        "result": None,
        "tips": None,
        "updated_at": NOW.isoformat(),
    }
    assert f"{mobile(1)}   suppressed" in sms("show", "n").stdout
    assert [row["id"] for row in sms_json("messages", "--status", "suppressed")] == ["n"]

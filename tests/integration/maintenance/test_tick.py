"""The tick: whatever lost its task gets a new one."""

import json
from base64 import b64decode
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial

import pytest
from campaign_driver import SPEC, Campaigns, window_of
from intake_driver import taken_in
from ledger_driver import LEASE, NOW, Ledger, message, mobile, policy, status_push
from pydantic import SecretStr
from redis import Redis

from worker.campaigns.start_due import start_due
from worker.config import Account, Settings
from worker.domain.lane import LANES, QUEUES
from worker.domain.outcome import BACKOFF_FIRST
from worker.domain.status import State
from worker.domain.submission import Recorded
from worker.inbound.process_push import keep_pushes
from worker.ledger import tables as t
from worker.ledger.inbound import pushes
from worker.ledger.sending import accounts as ledger_accounts
from worker.ledger.sending import gates
from worker.maintenance import tick
from worker.redis_store import bells, intake, intake_parked, intake_pushes


class Published:
    """What the tick published."""

    def __init__(self, ledger: Ledger, redis: Redis) -> None:
        self.ledger, self.redis = ledger, redis
        self.settings = Settings()
        self.settings.accounts["default"] = Account(epr_id=1, user_id="sword123", password=SecretStr("secret"))
        self.settings.lanes["marketing"] = replace(LANES["marketing"], resend_unknown="once")

    def tick(self, now: datetime) -> list[tuple[str, object]]:
        """The tasks that the tick put into the queues, each with its argument, without the task of every minute."""
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


def test_a_lane_in_whose_intake_something_waits_gets_a_task(beat: Published) -> None:
    intake.put(beat.redis, [message("m"), message("o", lane="otp")], now=NOW)
    assert beat.tick(NOW) == [("work", "otp"), ("work", "notice")]
    taken_in(beat.ledger, beat.redis, "otp")
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
    assert [call.id for call in beat.ledger.pull(NOW + LEASE + BACKOFF_FIRST, "marketing").claimed] == submission_ids


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
    (row,) = beat.ledger.rows(t.pushes)
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


def test_a_message_of_an_account_that_this_worker_does_not_know_waits_for_one_that_does(beat: Published) -> None:
    with beat.ledger.engine.begin() as connection:
        known = ledger_accounts.register(connection, ["default", "shop"], first_msg_id=100, now=NOW)
    intake.put(beat.redis, [message("m", account="shop"), message("n")], now=NOW)
    assert taken_in(beat.ledger, beat.redis)
    # The parked message is not taken again: else a worker, which takes in until nothing more waits, would never end.
    assert not taken_in(beat.ledger, beat.redis)
    assert not taken_in(beat.ledger, beat.redis, now=NOW + timedelta(seconds=30))
    assert [row["public_id"] for row in beat.ledger.rows(t.messages)] == ["n"]
    assert intake_parked.counts(beat.redis) == {"shop": 1}
    assert ("work", "notice") in beat.tick(NOW + timedelta(seconds=6))
    beat.ledger.account_ids |= known
    taken_in(beat.ledger, beat.redis, accounts={"default", "shop"})
    assert [row["public_id"] for row in beat.ledger.rows(t.messages)] == ["n", "m"]
    assert beat.ledger.rows(t.refused) == []
    assert intake.depth(beat.redis)["notice"] == 0
    assert intake_parked.counts(beat.redis) == {}


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

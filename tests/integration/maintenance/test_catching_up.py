"""Maintenance after an outage: one tick works off what has piled up, in short transactions."""

from collections.abc import Iterator
from datetime import datetime, timedelta
from itertools import count

import pytest
from ledger_driver import NOW, Ledger, message, mobile, status_push
from redis import Redis
from sqlalchemy import Connection, insert, update

from worker.domain.read_message import read_message
from worker.domain.status import State
from worker.domain.submission import Recorded
from worker.ledger import tables as t
from worker.ledger.dialect import ROWS
from worker.ledger.engine import BATCHES_SECONDS, in_batches
from worker.ledger.inbound import pushes
from worker.ledger.sending import submissions, unknown
from worker.maintenance import tick
from worker.redis_store import intake

MANY = 2 * ROWS + 500
HOUR = timedelta(hours=1)


def stands_still() -> float:
    """A clock by which a batch takes no time: a tick works off all it can, however slow the machine is."""
    return 0.0


def fill(ledger: Ledger, state: State, rows: int = MANY, *, due_at: datetime | None = None, first: int = 1) -> None:
    """Adds that many submissions in that state since NOW. Their validity ends an hour later."""
    row = {
        "account_id": ledger.account_ids["default"], "lane": "notice", "state": state, "caller": "", "mobiles": 1,
        "due_at": due_at, "expires_at": NOW + HOUR, "attempt": 1, "resent": False, "called_off": False, "updated_at": NOW,
    }  # fmt: skip
    with ledger.engine.begin() as connection:
        connection.execute(insert(t.submissions), [row | {"msg_id": msg_id} for msg_id in range(first, first + rows)])


def test_all_that_waits_for_its_reports_too_long_is_unreported(ledger: Ledger) -> None:
    fill(ledger, State.ACCEPTED)
    tick.unreport(ledger.engine, wait=HOUR, now=NOW + HOUR, clock=stands_still)
    assert ledger.states() == {"unreported": MANY}


def test_all_leases_that_are_over_end(ledger: Ledger) -> None:
    fill(ledger, State.SUBMITTING, due_at=NOW)
    tick.expire_leases(ledger.engine, now=NOW, clock=stands_still)
    assert ledger.states() == {"unknown": MANY}


def test_all_that_is_past_its_validity_expires(ledger: Ledger) -> None:
    fill(ledger, State.HELD, due_at=NOW)
    tick.expire(ledger.engine, now=NOW + HOUR, clock=stands_still)
    assert ledger.states() == {"expired": MANY}


def test_all_pushes_that_lost_their_tasks_get_others_until_their_queue_is_long(ledger: Ledger, redis: Redis) -> None:
    late = NOW + pushes.STRAY_AFTER
    row = {"body": b"", "source": "", "received_at": NOW, "state": pushes.RECEIVED, "due_at": late}
    with ledger.engine.begin() as connection:
        connection.execute(insert(t.pushes), [row] * (tick.PUSHES_QUEUED + MANY))
    published: list[int] = []
    for more in (tick.PUSHES_QUEUED, MANY):
        before = len(published)
        tick.requeue_pushes(
            ledger.engine,
            redis,
            lambda push_id: (published.append(push_id), redis.rpush("sms.push", push_id)),
            now=late,
        )
        assert len(published) == before + more
        redis.delete("sms.push")
    assert len(set(published)) == len(published)


def test_all_that_was_given_to_workers_that_were_lost_waits_again(redis: Redis) -> None:
    payloads = (
        {"to": "13800000000", "content": "您好", "id": f"m{number}", "lane": "notice"} for number in range(MANY)
    )
    messages = [read_message(payload, now=NOW, default_id="", accounts=None) for payload in payloads]
    intake.put(redis, messages, now=NOW)
    while intake.take(redis, "notice", now=NOW):
        pass
    assert intake.requeue_lost(redis, "notice", now=NOW + intake.LOST_AFTER) == MANY


@pytest.fixture
def seconds() -> Iterator[float]:
    """A clock. Each reading is later by a third of the time that a step has."""
    return count(0, BATCHES_SECONDS / 3)


def test_who_catches_up_stops_when_the_time_is_over_for_others_have_their_turn(
    ledger: Ledger, seconds: Iterator[float]
) -> None:
    fill(ledger, State.ACCEPTED)

    def change(connection: Connection) -> int:
        return submissions.unreport(connection, before=NOW, now=NOW, most=100)

    assert in_batches(ledger.engine, change, most=100, clock=lambda: next(seconds)) == 300
    assert ledger.states() == {"accepted": MANY - 300, "unreported": 300}


def test_what_one_batch_has_changed_stays_changed_if_the_next_one_fails(ledger: Ledger) -> None:
    fill(ledger, State.ACCEPTED, 20)
    batches = count()

    def change(connection: Connection) -> int:
        if next(batches):
            connection.execute(update(t.submissions).values(state="none"))
        return submissions.unreport(connection, before=NOW, now=NOW, most=10)

    with pytest.raises(Exception, match="ck_submissions_state"):
        in_batches(ledger.engine, change, most=10)
    assert ledger.states() == {"accepted": 10, "unreported": 10}


@pytest.mark.parametrize("most", [1, 4, 9, 10, 11, 100])
def test_a_report_settles_what_is_unknown_however_much_of_it_is_looked_at_at_once(ledger: Ledger, most: int) -> None:
    numbers = range(10)
    submission_ids = [ledger.accept(message(f"m{n}", mobile(n), content=f"您好{n}"))[f"m{n}"][0] for n in numbers]
    calls = ledger.claim(submission_ids)
    ledger.push(status_push(*((call.mobiles[0], call.msg_id, 1) for call in calls)))
    ledger.record(*(Recorded(call.id, 1, State.UNKNOWN, None, None, None) for call in calls))
    fill(ledger, State.UNKNOWN, 5)
    settled = []
    for _ in range(-(-15 // most) + 1):
        with ledger.engine.begin() as connection:
            settled.append(unknown.accept_reported(connection, now=NOW, most=most))
    assert max(settled) <= most
    assert ledger.states() == {"accepted": 10, "unknown": 5}


def test_what_becomes_unknown_behind_those_that_were_looked_at_is_looked_at_in_the_next_round(ledger: Ledger) -> None:
    fill(ledger, State.UNKNOWN, 3)
    (early, *_), settled = ledger.accept(message("early"))["early"], []
    fill(ledger, State.UNKNOWN, 3, first=1000)
    for step in range(6):
        if step == 3:
            (call,) = ledger.claim([early])
            ledger.record(Recorded(early, 1, State.UNKNOWN, None, None, None))
            ledger.push(status_push((call.mobiles[0], call.msg_id, 1)))
        with ledger.engine.begin() as connection:
            settled.append(unknown.accept_reported(connection, now=NOW, most=2))
    assert sum(settled) == 1
    assert ledger.states() == {"accepted": 1, "unknown": 6}

"""Why something still waits at the end of a chaos run, on both databases and a real Redis."""

from datetime import timedelta

from ledger_driver import NOW, Ledger, message
from redis import Redis
from sqlalchemy import Engine

from chaos.causes import causes
from worker.domain.lane import LANES
from worker.domain.outcome import Outcome, Verdict
from worker.domain.status import State
from worker.domain.submission import Recorded
from worker.ledger.inbound import pushes
from worker.redis_store import intake
from worker.sending.breaker import update_gate

LATER = NOW + timedelta(minutes=10)


def test_nothing_that_waits_has_no_cause(engine: Engine, redis: Redis) -> None:
    assert causes(engine, redis, now=NOW) == []


def test_each_cause_has_a_line_with_how_many_and_the_greatest_comes_first(engine: Engine, redis: Redis) -> None:
    ledger = Ledger(engine)
    ledger.claim([ledger.accept(message("called"))["called"][0]])
    (failed,) = ledger.claim([ledger.accept(message("failed"))["failed"][0]])
    ledger.record(Recorded(failed.id, 1, State.HELD, LATER, None, "no route\nto it"))
    ledger.accept(*(message(str(number)) for number in range(3)))
    with engine.begin() as connection:
        pushes.add(connection, b"", source="127.0.0.1", received_at=NOW)
    assert causes(engine, redis, now=NOW) == [
        "3 queued in notice: due, and nobody pulls it",
        "1 held in notice: not due yet; last said: no route to it",
        "1 submitting in notice: its call is under way, or its worker was lost",
        "1 pushes unread: their task waits",
    ]
    assert causes(engine, redis, now=NOW + timedelta(minutes=5))[1:] == [
        "1 held in notice: not due yet; last said: no route to it",
        "1 submitting in notice: its lease is over, and no tick has ended it",
        "1 pushes unread: past their time, their task was lost or waits",
    ]


def test_a_closed_gate_is_a_cause(engine: Engine, redis: Redis) -> None:
    ledger = Ledger(engine)
    (claimed,) = ledger.claim([ledger.accept(message("one"))["one"][0]])
    ledger.accept(message("two"))
    update_gate(engine, claimed, Outcome(Verdict.ACCOUNT, "-3", "Key验证失败"), in_a_row=lambda *_: None, now=NOW)
    reasons = causes(engine, redis, now=NOW)
    assert "1 queued in notice: the gate of default is closed (account: -3 Key验证失败)" in reasons


def test_what_lies_in_redis_waits_was_given_out_is_late_or_stranded(engine: Engine, redis: Redis) -> None:
    for number in range(2):
        intake.put(redis, [message(f"taken-{number}")], now=NOW)
    intake.take(redis, "notice", now=NOW)
    intake.put(redis, [message("waits")], now=NOW)
    redis.hset("sms:intake:otp", "alone", "{}")
    redis.lpush(LANES["notice"].queue, "a bell")
    assert causes(engine, redis, now=NOW) == [
        "1 in the intake of otp: neither waiting nor given out: it is stranded, such as alone",
        "1 in the intake of notice: waiting, and nobody takes it in, such as waits",
        "2 in the intake of notice: given to a worker, which tries again and again or was lost, such as taken-0",
        "1 tasks in the queue sms.notice",
    ]
    late = causes(engine, redis, now=NOW + timedelta(seconds=6))
    assert "2 in the intake of notice: given to a worker and not given back in time, such as taken-0" in late

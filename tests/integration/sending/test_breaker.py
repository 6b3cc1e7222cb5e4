"""The gate of an account: the gateway's answers or a person close it, one submission probes it, and no message is lost
meanwhile.
"""

import logging
from dataclasses import replace
from datetime import datetime, timedelta

import pytest
from ledger_driver import LEASE, NOW, Ledger, message, mobile
from redis import Redis
from sqlalchemy import update

from worker.domain.gate import MAX_PROBE_WAIT, PROBE_AFTER, PROBE_AGAIN, Gate, next_probe
from worker.domain.outcome import BACKOFF_FIRST, Outcome, Verdict
from worker.domain.status import State
from worker.domain.submission import Claimed, Recorded
from worker.ledger import tables as t
from worker.ledger.sending import accounts, claims, gates
from worker.sending.breaker import FORGOTTEN, InARow, unknown_in_a_row, update_gate

MINUTE = timedelta(minutes=1)
WRONG_PASSWORD = Outcome(Verdict.ACCOUNT, "-3", "Key验证失败")


def gate(ledger: Ledger) -> Gate:
    with ledger.engine.connect() as connection:
        (default_gate,) = gates.gates(connection)
    return default_gate


NOT_IN_A_ROW = InARow(count=lambda _claimed, _now: None, end=lambda _account_id: None)
"""A counter for which no earlier call was unknown."""


def fails(ledger: Ledger, claimed: Claimed, now: datetime, outcome: Outcome = WRONG_PASSWORD) -> None:
    """Records the outcome as `submit` does, for a verdict after which the submission is held."""
    ledger.record(
        Recorded(claimed.id, claimed.attempt, State.HELD, now + BACKOFF_FIRST, outcome.result, outcome.tips), now=now
    )
    update_gate(ledger.engine, claimed, outcome, in_a_row=NOT_IN_A_ROW, now=now)


def to_be_probed(ledger: Ledger, now: datetime) -> list[int]:
    with ledger.engine.connect() as connection:
        return claims.to_be_probed(connection, lambda _: ledger.lanes_open(now), now=now)


@pytest.fixture
def closed(ledger: Ledger) -> list[int]:
    """Five submissions of an account. The first of them has just shown that the password is wrong."""
    submission_ids = ledger.accept(message("m", *map(mobile, range(5))), max_mobiles=1)["m"]
    (first,) = ledger.claim(submission_ids[:1])
    fails(ledger, first, NOW)
    return submission_ids


def test_the_log_names_a_gate_by_its_account_as_the_commands_do(
    ledger: Ledger, closed: list[int], caplog: pytest.LogCaptureFixture
) -> None:
    for minute, outcome in ((1, WRONG_PASSWORD), (2, Outcome(Verdict.ACCEPTED, "1", "成功"))):
        [probe] = ledger.claim_probe(NOW + minute * MINUTE)
        update_gate(ledger.engine, probe, outcome, in_a_row=NOT_IN_A_ROW, now=NOW + minute * MINUTE)
        ledger.record(Recorded(probe.id, probe.attempt, State.HELD, NOW + minute * MINUTE, None, None))
    assert [record.getMessage().partition(", see")[0].partition(":")[0] for record in caplog.records] == [
        "the gate of account default stays closed",
        "the gate of account default is open again",
    ]


def test_a_wrong_password_closes_the_gate_and_the_others_wait_behind_it(ledger: Ledger, closed: list[int]) -> None:
    gate_now = gate(ledger)
    assert (gate_now.is_open, gate_now.by, gate_now.since, gate_now.until) == (False, "gateway", NOW, NOW + MINUTE)
    assert gate_now.reason == "account: -3 Key验证失败"
    assert ledger.claim(closed[1:]) == ledger.pull().claimed == []
    assert ledger.states() == {"held": 1, "queued": 4}


def test_before_its_time_a_gate_now_is_not_probed(ledger: Ledger, closed: list[int]) -> None:
    soon = NOW + MINUTE - timedelta(seconds=1)
    assert ledger.pull(soon).claimed == to_be_probed(ledger, soon) == ledger.claim_probe(soon) == []


def test_after_a_minute_one_submission_probes_it_and_each_minute_another(ledger: Ledger, closed: list[int]) -> None:
    for minutes in (1, 2, 3):
        now = NOW + minutes * MINUTE
        assert ledger.pull(now).claimed == []
        assert to_be_probed(ledger, now) == [ledger.account_ids["default"]]
        (probe,) = ledger.claim_probe(now)
        assert probe.probe
        assert to_be_probed(ledger, now) == ledger.claim_probe(now) == []
        fails(ledger, probe, now)
    assert gate(ledger).since == NOW
    assert sum(ledger.states().values()) == ledger.states()["queued"] + ledger.states()["held"] == 5


def test_the_most_urgent_of_what_waits_probes_the_gate(ledger: Ledger, closed: list[int]) -> None:
    (submission_id,) = ledger.accept(message("o", lane="otp"))["o"]
    assert [probe.id for probe in ledger.claim_probe(NOW + MINUTE)] == [submission_id]


def test_no_advertisement_probes_a_gate_at_night(ledger: Ledger, closed: list[int]) -> None:
    with ledger.engine.begin() as connection:
        connection.execute(update(t.submissions).values(lane="marketing"))
    night = NOW + timedelta(hours=12)
    assert to_be_probed(ledger, night) == ledger.claim_probe(night) == []
    assert len(ledger.claim_probe(NOW + timedelta(hours=20))) == 1


def test_a_gate_behind_which_nothing_is_due_is_not_probed(ledger: Ledger, closed: list[int]) -> None:
    with ledger.engine.begin() as connection:
        connection.execute(update(t.submissions).values(due_at=NOW + timedelta(hours=1)))
    assert to_be_probed(ledger, NOW + MINUTE) == ledger.claim_probe(NOW + MINUTE) == []
    assert gate(ledger).until == NOW + MINUTE


def test_a_probe_that_goes_through_opens_the_gate_and_all_the_others_follow_at_once(
    ledger: Ledger, closed: list[int]
) -> None:
    now = NOW + MINUTE
    (probe,) = ledger.claim_probe(now)
    ledger.record(Recorded(probe.id, probe.attempt, State.ACCEPTED, None, "1", "成功"), now=now)
    update_gate(ledger.engine, probe, Outcome(Verdict.ACCEPTED, "1", "成功"), in_a_row=NOT_IN_A_ROW, now=now)
    assert gate(ledger).is_open
    assert len(ledger.pull(now).claimed) == 4


def test_a_probe_whose_worker_is_lost_is_followed_by_another(ledger: Ledger, closed: list[int]) -> None:
    assert len(ledger.claim_probe(NOW + MINUTE)) == 1
    later = NOW + MINUTE + PROBE_AGAIN
    assert len(ledger.claim_probe(later)) == 1


def test_what_waits_behind_a_gate_now_for_too_long_expires(ledger: Ledger, closed: list[int]) -> None:
    with ledger.engine.begin() as connection:
        connection.execute(update(t.submissions).values(expires_at=NOW + MINUTE))
    assert ledger.expire(NOW + 2 * MINUTE) == 5
    assert ledger.states() == {"expired": 5}


def test_a_gate_that_a_person_closed_is_not_probed_and_only_a_person_opens_it(ledger: Ledger) -> None:
    submission_ids = ledger.accept(message("m", mobile(1), mobile(2)), max_mobiles=1)["m"]
    (under_way,) = ledger.claim(submission_ids[:1])
    with ledger.engine.begin() as connection:
        assert gates.pause(connection, "default", reason="wrong text", by="operator:alice", now=NOW)
    fails(ledger, under_way, NOW)
    assert (gate(ledger).reason, gate(ledger).by, gate(ledger).until) == ("wrong text", "operator:alice", None)
    assert ledger.claim(submission_ids[1:]) == ledger.claim_probe(NOW + timedelta(hours=1)) == []
    with ledger.engine.begin() as connection:
        assert gates.resume(connection, "default", by="operator:alice", now=NOW)
    assert len(ledger.pull(NOW + timedelta(hours=2)).claimed) == 2


def test_one_account_behind_its_gate_is_no_trouble_of_anothers(ledger: Ledger, closed: list[int]) -> None:
    with ledger.engine.begin() as connection:
        ledger.account_ids |= accounts.register(connection, ["shop"], first_msg_id=1, now=NOW)
    (submission_id,) = ledger.accept(message("n", account="shop"))["n"]
    assert [call.id for call in ledger.claim([closed[1], submission_id])] == [submission_id]


@pytest.mark.parametrize("verdict", sorted(set(Verdict) - {Verdict.ACCOUNT, Verdict.CLOCK, Verdict.UNKNOWN}))
def test_no_other_outcome_closes_a_gate(ledger: Ledger, verdict: Verdict) -> None:
    [submission_ids] = ledger.accept(message("m")).values()
    for call in ledger.claim(submission_ids):
        update_gate(
            ledger.engine,
            call,
            Outcome(verdict, "-7"),
            in_a_row=replace(NOT_IN_A_ROW, count=lambda _claimed, now: now),
            now=NOW,
        )
    assert gate(ledger).is_open


@pytest.mark.parametrize("verdict", sorted(Verdict))
def test_a_gate_is_open_after_a_probe_that_the_gateway_answered_for_the_message_and_else_closed(
    ledger: Ledger, closed: list[int], verdict: Verdict
) -> None:
    now = NOW + MINUTE
    (probe,) = ledger.claim_probe(now)
    update_gate(ledger.engine, probe, Outcome(verdict, "-7"), in_a_row=NOT_IN_A_ROW, now=now)
    assert gate(ledger).is_open is (verdict in {Verdict.ACCEPTED, Verdict.REJECTED, Verdict.FAILED})
    if not gate(ledger).is_open:
        # After a minute at the latest, and of one that has been closed for a minute no sooner if the probe is unknown.
        assert gate(ledger).until == now + PROBE_AFTER.get(verdict, MINUTE) or verdict is Verdict.UNKNOWN
        assert gate(ledger).until == now + MINUTE or verdict in {Verdict.NOT_SENT, Verdict.BUSY}


def test_after_a_probe_that_the_gateway_was_too_busy_for_the_next_one_is_due_in_seconds() -> None:
    for closed_for in (timedelta(seconds=3), timedelta(hours=1)):
        assert next_probe(Outcome(Verdict.BUSY), closed_for) == timedelta(seconds=5)


def test_probes_that_are_unknown_are_the_rarer_the_longer_it_lasts() -> None:
    at, waits = timedelta(0), [PROBE_AFTER[Verdict.UNKNOWN]]
    for _ in range(9):
        at += waits[-1]
        wait = next_probe(Outcome(Verdict.UNKNOWN), at)
        assert wait is not None
        waits.append(wait)
    assert [wait.total_seconds() for wait in waits] == [3, 3, 6, 12, 24, 48, 96, 120, 120, 120]
    assert waits[-1] == MAX_PROBE_WAIT


# Calls of which nobody knows whether they were taken.

NO_REPLY = Outcome(Verdict.UNKNOWN, None, "no reply")
NOT_FOUND = Outcome(Verdict.REJECTED, None, "HTTP 404: not found")
SECOND = timedelta(seconds=1)
FEW = 3


def counted(ledger: Ledger, redis: Redis) -> InARow:
    """A counter of unknown calls, as each process has its own."""
    names = {number: name for name, number in ledger.account_ids.items()}
    return unknown_in_a_row(ledger.engine, redis, names, most=FEW, lease=LEASE)


def ends(ledger: Ledger, count: InARow, call: Claimed, now: datetime, outcome: Outcome = NO_REPLY) -> None:
    state = State(outcome.verdict)
    ledger.record(Recorded(call.id, call.attempt, state, None, outcome.result, outcome.tips), now=now)
    update_gate(ledger.engine, call, outcome, in_a_row=count, now=now)


def calls(ledger: Ledger, number: int, now: datetime = NOW) -> list[Claimed]:
    [submission_ids] = ledger.accept(
        message(f"at-{now:%H%M%S}", *map(mobile, range(number))), max_mobiles=1, now=now
    ).values()
    return ledger.claim(submission_ids, now)


def test_a_few_unknown_in_a_row_close_the_gate_whichever_processes_made_the_calls(
    ledger: Ledger, redis: Redis, caplog: pytest.LogCaptureFixture
) -> None:
    for number, call in enumerate(calls(ledger, FEW + 5)):
        assert gate(ledger).is_open is (number < FEW)
        ends(ledger, counted(ledger, redis), call, NOW + number * SECOND)
    gate_now = gate(ledger)
    closed_at = NOW + (FEW - 1) * SECOND
    assert (gate_now.since, gate_now.until, gate_now.reason) == (
        closed_at, closed_at + PROBE_AFTER[Verdict.UNKNOWN], "unknown: no reply"
    )  # fmt: skip
    assert [record.levelno for record in caplog.records] == [logging.ERROR], "told once, not for each that follows"


def test_refusals_by_http_status_alone_close_the_gate_as_calls_without_a_reply_do(ledger: Ledger, redis: Redis) -> None:
    count = counted(ledger, redis)
    *few, under_way = calls(ledger, FEW + 1)
    for call in few:
        assert gate(ledger).is_open
        ends(ledger, count, call, NOW, NOT_FOUND)
    assert gate(ledger).reason == "rejected: HTTP 404: not found"
    assert gate(ledger).until == NOW + PROBE_AFTER[Verdict.UNKNOWN]
    assert next_probe(NOT_FOUND, timedelta(seconds=6)) == timedelta(seconds=6)
    update_gate(ledger.engine, replace(under_way, probe=True), NOT_FOUND, in_a_row=count, now=NOW + MINUTE)
    assert not gate(ledger).is_open


def test_whether_a_call_was_accepted_since_some_time_is_known_for_each_account(ledger: Ledger, redis: Redis) -> None:
    count = counted(ledger, redis)
    [call] = calls(ledger, 1)
    account_id = call.account_id
    with ledger.engine.connect() as connection:
        assert not gates.was_accepted_since(connection, account_id, NOW)
    ends(ledger, count, call, NOW + SECOND, Outcome(Verdict.ACCEPTED, "1"))
    with ledger.engine.connect() as connection:
        assert gates.was_accepted_since(connection, account_id, NOW + SECOND)
        assert not gates.was_accepted_since(connection, account_id, NOW + 2 * SECOND)
        assert not gates.was_accepted_since(connection, account_id + 1, NOW)


def test_a_success_anywhere_in_the_account_begins_the_count_anew(ledger: Ledger, redis: Redis) -> None:
    count, other = counted(ledger, redis), counted(ledger, redis)
    for number, call in enumerate(calls(ledger, 4 * FEW)):
        if number % FEW == FEW - 1:
            ends(ledger, other, call, NOW + number * SECOND, Outcome(Verdict.ACCEPTED, "1"))
        else:
            ends(ledger, count, call, NOW + number * SECOND)
    assert gate(ledger).is_open


@pytest.mark.parametrize("verdict", [Verdict.REJECTED, Verdict.FAILED])
@pytest.mark.parametrize("whose", ["its own", "another process'", "its own, while Redis is away"])
def test_an_answer_for_a_message_begins_the_count_anew(
    ledger: Ledger, redis: Redis, verdict: Verdict, whose: str
) -> None:
    redis = Redis.from_url("redis://127.0.0.1:1/0") if "away" in whose else redis
    count = counted(ledger, redis)
    other = counted(ledger, redis) if "another" in whose else count
    for number, call in enumerate(calls(ledger, 4 * FEW)):
        if number % FEW == FEW - 1:
            update_gate(ledger.engine, call, Outcome(verdict, "-7"), in_a_row=other, now=NOW + number * SECOND)
        else:
            ends(ledger, count, call, NOW + number * SECOND)
    assert gate(ledger).is_open


@pytest.mark.parametrize("verdict", [Verdict.BUSY, Verdict.NOT_SENT])
def test_a_call_that_the_gateway_did_not_take_does_not_begin_the_count_anew(
    ledger: Ledger, redis: Redis, verdict: Verdict
) -> None:
    count = counted(ledger, redis)
    for number, call in enumerate(calls(ledger, FEW)):
        ends(ledger, count, call, NOW + number * SECOND)
        update_gate(ledger.engine, call, Outcome(verdict), in_a_row=count, now=NOW + number * SECOND)
    assert not gate(ledger).is_open


def test_calls_that_are_accepted_ask_redis_nothing(ledger: Ledger, redis: Redis) -> None:
    count = counted(ledger, redis)
    before = redis.info("stats")["total_commands_processed"]
    for call in calls(ledger, 5):
        ends(ledger, count, call, NOW, Outcome(Verdict.ACCEPTED, "1"))
    assert redis.info("stats")["total_commands_processed"] == before + 1


def test_while_redis_is_away_each_process_counts_its_own(ledger: Ledger) -> None:
    count = counted(ledger, Redis.from_url("redis://127.0.0.1:1/0"))
    for call in calls(ledger, FEW):
        assert gate(ledger).is_open
        ends(ledger, count, call, NOW)
    assert not gate(ledger).is_open


def test_a_few_now_and_then_are_no_row(ledger: Ledger, redis: Redis) -> None:
    count = counted(ledger, redis)
    for number in range(FEW):
        now = NOW + number * FORGOTTEN / (FEW - 1)
        ends(ledger, count, *calls(ledger, 1, now), now)
    assert gate(ledger).is_open


def test_calls_that_began_before_the_gate_was_opened_again_do_not_close_it_when_they_time_out(
    ledger: Ledger, redis: Redis
) -> None:
    count = counted(ledger, redis)
    under_way = calls(ledger, 3 * FEW)
    for call in under_way[:FEW]:
        ends(ledger, count, call, NOW)
    with ledger.engine.begin() as connection:
        gates.resume(connection, "default", by="operator:alice", now=NOW + SECOND)
    for call in under_way[FEW:]:
        ends(ledger, count, call, NOW + 30 * SECOND)
    assert gate(ledger).is_open
    for call in calls(ledger, FEW, NOW + 31 * SECOND):
        assert gate(ledger).is_open
        ends(ledger, count, call, NOW + 32 * SECOND)
    assert not gate(ledger).is_open


def test_what_one_account_cannot_know_closes_no_other_ones_gate(ledger: Ledger, redis: Redis) -> None:
    with ledger.engine.begin() as connection:
        ledger.account_ids |= accounts.register(connection, ["shop"], first_msg_id=1, now=NOW)
    count = counted(ledger, redis)
    for call in calls(ledger, FEW):
        ends(ledger, count, call, NOW)
    with ledger.engine.connect() as connection:
        assert {gate.account: gate.is_open for gate in gates.gates(connection)} == {"default": False, "shop": True}


def test_a_probe_that_is_unknown_keeps_the_gate_closed_and_the_next_is_later(ledger: Ledger, redis: Redis) -> None:
    count, now, waits = counted(ledger, redis), NOW, []
    for call in calls(ledger, FEW):
        ends(ledger, count, call, NOW)
    ledger.accept(message("more", *map(mobile, range(50))))
    for _ in range(4):
        until = gate(ledger).until
        assert until is not None
        waits.append((until - now).total_seconds())
        now = until
        (probe,) = ledger.claim_probe(now)
        ends(ledger, count, probe, now)
    assert waits == [3, 3, 6, 12]
    assert gate(ledger).since == NOW
    assert ledger.states() == {"unknown": FEW + 4, "queued": 1}


def test_a_probe_has_one_recipient_and_the_others_of_its_call_wait(ledger: Ledger, closed: list[int]) -> None:
    with ledger.engine.begin() as connection:
        connection.execute(
            update(t.submissions).where(t.submissions.c.id.in_(closed)).values(state="cancelled", due_at=None)
        )
    (submission_id,) = ledger.accept(message("n", mobile(11), mobile(12)), message("o", mobile(13)))["n"]
    (probe,) = ledger.claim_probe(NOW + MINUTE)
    assert (probe.mobiles, probe.id != submission_id) == ((mobile(11),), True)
    rows = {row["id"]: row for row in ledger.rows(t.submissions)}
    assert rows[probe.id]["msg_id"] != rows[submission_id]["msg_id"]
    assert [(row["state"], row["mobiles"]) for row in (rows[submission_id], rows[probe.id])] == [
        ("queued", 2),
        ("submitting", 1),
    ]
    submission_ids = {
        row["mobile"]: row["submission_id"] for row in ledger.rows(t.recipients) if row["submission_id"] not in closed
    }
    assert submission_ids == {mobile(11): probe.id, mobile(12): submission_id, mobile(13): submission_id}
    ends(ledger, NOT_IN_A_ROW, probe, NOW + MINUTE, Outcome(Verdict.ACCEPTED, "1"))
    (rest,) = ledger.pull(NOW + MINUTE).claimed
    assert set(rest.mobiles) == {mobile(12), mobile(13)}


def test_what_may_have_been_taken_is_probed_with_whole(ledger: Ledger, closed: list[int]) -> None:
    with ledger.engine.begin() as connection:
        connection.execute(
            update(t.submissions).where(t.submissions.c.id.in_(closed)).values(state="cancelled", due_at=None)
        )
    (submission_id,) = ledger.accept(message("n", mobile(11), mobile(12)))["n"]
    with ledger.engine.begin() as connection:
        connection.execute(update(t.submissions).where(t.submissions.c.id == submission_id).values(resent=True))
    (probe,) = ledger.claim_probe(NOW + MINUTE)
    assert (probe.id, set(probe.mobiles)) == (submission_id, {mobile(11), mobile(12)})


def test_the_skew_of_the_gateways_clock_is_noted(ledger: Ledger) -> None:
    with ledger.engine.begin() as connection:
        gates.note_skew(connection, ledger.account_ids["default"], timedelta(minutes=-10))
        assert gates.skews(connection) == {"default": timedelta(minutes=-10)}

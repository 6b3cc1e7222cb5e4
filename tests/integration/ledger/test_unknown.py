"""Unknown submissions: resent where the lane or a person says so, or settled by a report or a person. And unreported
ones.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

import pytest
from ledger_driver import LEASE, NOW, Ledger, message, mobile, status_push
from sqlalchemy import Connection, text

from worker.domain.lane import LANES
from worker.domain.outcome import BACKOFF_FIRST
from worker.domain.status import Report, State
from worker.domain.submission import Claimed, Recorded
from worker.ledger import tables as t
from worker.ledger.sending import unknown
from worker.ledger.sending.unknown import UnknownFilter
from worker.maintenance.settle import settle as settle_reported

LOST = NOW + LEASE
AGAIN = LOST + BACKOFF_FIRST
EVERYTHING = UnknownFilter()


def called(ledger: Ledger, message_id: str, *to: str, **fields: object) -> Claimed:
    """Adds a message of one call, and claims that call."""
    [submission_ids] = ledger.accept(message(message_id, *to, **fields)).values()
    return ledger.claim(submission_ids)[0]


def made_unknown(ledger: Ledger, message_id: str, *to: str, **fields: object) -> Claimed:
    call = called(ledger, message_id, *to, **fields)
    ledger.record(Recorded(call.id, call.attempt, State.UNKNOWN, None, None, "no reply"))
    return call


def resend(ledger: Ledger, which: UnknownFilter = EVERYTHING, now: datetime = NOW) -> int:
    with ledger.engine.begin() as connection:
        return unknown.resend(connection, which, LANES, now=now)


def resolve(ledger: Ledger, report: Report, which: UnknownFilter = EVERYTHING, now: datetime = NOW) -> int:
    with ledger.engine.begin() as connection:
        return unknown.resolve(connection, which, report, set_by="operator:alice", now=now)


def count(ledger: Ledger, which: UnknownFilter = EVERYTHING) -> tuple[int, int]:
    with ledger.engine.begin() as connection:
        return unknown.count(connection, which)


def claimed_again(ledger: Ledger, at: datetime, lane: str = "notice") -> Sequence[Claimed]:
    return ledger.pull(at, lane).claimed


def test_a_worker_lost_in_the_call_has_it_made_once_more_with_the_same_msg_id_and_then_it_stays_unknown(
    ledger: Ledger,
) -> None:
    first = called(ledger, "m")
    ledger.expire_leases(LOST, resend={"notice"})
    assert claimed_again(ledger, AGAIN - timedelta(seconds=1)) == []
    [second] = claimed_again(ledger, AGAIN)
    assert (second.msg_id, second.attempt, second.resent) == (first.msg_id, 2, True)
    ledger.expire_leases(AGAIN + LEASE, resend={"notice"})
    assert ledger.states() == {"unknown": 1}


@pytest.mark.parametrize("said", [State.ACCEPTED, State.REJECTED])
def test_what_the_gateway_said_still_counts_when_it_is_recorded_after_the_lease(ledger: Ledger, said: State) -> None:
    call = called(ledger, "m")
    ledger.expire_leases(LOST)
    assert ledger.record(Recorded(call.id, call.attempt, said, None, "1", None)) == 1
    assert ledger.states() == {said: 1}


def test_that_it_was_not_sent_comes_too_late_after_the_lease_to_have_it_sent(ledger: Ledger) -> None:
    call = called(ledger, "m")
    ledger.expire_leases(LOST)
    assert ledger.record(Recorded(call.id, call.attempt, State.HELD, AGAIN, None, "no route")) == 0
    assert ledger.states() == {"unknown": 1}


@pytest.mark.parametrize("said", [State.ACCEPTED, State.REJECTED])
def test_what_the_gateway_said_after_the_lease_keeps_the_second_call_from_being_made(
    ledger: Ledger, said: State
) -> None:
    call = called(ledger, "m")
    ledger.expire_leases(LOST, resend={"notice"})
    assert ledger.record(Recorded(call.id, call.attempt, said, None, "1", None)) == 1
    assert claimed_again(ledger, AGAIN) == []
    assert ledger.states() == {said: 1}


def test_that_the_first_call_was_not_sent_makes_the_second_an_ordinary_one(ledger: Ledger) -> None:
    first = called(ledger, "m")
    ledger.expire_leases(LOST, resend={"notice"})
    later = AGAIN + timedelta(seconds=1)
    assert ledger.record(Recorded(first.id, first.attempt, State.HELD, later, None, "no route")) == 1
    assert claimed_again(ledger, AGAIN) == []
    [second] = claimed_again(ledger, later)
    assert (second.attempt, second.resent) == (2, False)


def test_that_the_second_call_was_not_sent_says_nothing_of_the_first_when_a_person_has_it_made_again(
    ledger: Ledger,
) -> None:
    first = called(ledger, "m")
    ledger.expire_leases(LOST, resend={"notice"})
    [second] = claimed_again(ledger, AGAIN)
    ledger.expire_leases(AGAIN + LEASE)
    resend(ledger, now=AGAIN + LEASE)
    assert ledger.record(Recorded(first.id, second.attempt, State.HELD, AGAIN + LEASE, None, None, resent=True)) == 1
    assert [third.resent for third in claimed_again(ledger, AGAIN + LEASE)] == [True]


def test_that_the_first_call_was_taken_counts_while_the_second_is_made_and_whatever_came_of_that(
    ledger: Ledger,
) -> None:
    taken = [called(ledger, message_id) for message_id in ("m", "n", "o")]
    ledger.expire_leases(LOST, resend={"notice"})
    again = {call.id: call for call in claimed_again(ledger, AGAIN)}
    _, held, unknown = taken
    ledger.record(Recorded(held.id, 2, State.HELD, AGAIN + LEASE, None, "no route", resent=True))
    ledger.record(Recorded(unknown.id, 2, State.UNKNOWN, None, None, "no reply", resent=True))
    assert ledger.record(*(Recorded(call.id, 1, State.ACCEPTED, None, "1", None) for call in taken)) == 3
    assert ledger.states() == {"accepted": 3}
    late = (
        Recorded(submission_id, call.attempt, State.HELD, AGAIN, None, None, resent=True)
        for submission_id, call in again.items()
    )
    assert ledger.record(*late) == 0
    assert claimed_again(ledger, AGAIN + LEASE) == []


def test_what_is_said_of_a_first_call_that_was_refused_does_not_end_a_second_that_may_have_been_taken(
    ledger: Ledger,
) -> None:
    first = called(ledger, "m")
    ledger.expire_leases(LOST, resend={"notice"})
    [_] = claimed_again(ledger, AGAIN)
    assert ledger.record(Recorded(first.id, 1, State.REJECTED, None, "-8", None)) == 0
    assert ledger.states() == {"submitting": 1}


@pytest.mark.parametrize("report_first", [True, False])
def test_a_report_of_one_recipient_shows_that_the_call_was_taken_and_the_others_wait_for_theirs(
    ledger: Ledger, report_first: bool
) -> None:
    call = called(ledger, "m", mobile(1), mobile(2))
    other = made_unknown(ledger, "n", mobile(3))
    body = status_push((mobile(1), call.msg_id, -1))
    if report_first:
        ledger.push(body)
    ledger.record(Recorded(call.id, call.attempt, State.UNKNOWN, None, None, "no reply"))
    if not report_first:
        ledger.push(body)
    settle_reported(ledger.engine, now=LOST)
    assert ledger.statuses() == {mobile(1): "undelivered", mobile(2): "accepted", mobile(3): "unknown"}
    resolve(ledger, Report.UNDELIVERED, UnknownFilter(ids=["n"]))
    settle_reported(ledger.engine, now=LOST)
    assert {row["id"]: row["state"] for row in ledger.rows(t.submissions)} == {call.id: "accepted", other.id: "unknown"}


def test_only_the_lanes_that_say_so_have_it_made_again(ledger: Ledger) -> None:
    called(ledger, "m")
    called(ledger, "n", lane="marketing")
    assert len(ledger.expire_leases(LOST, resend={"marketing"})) == 2
    assert ledger.states() == {"unknown": 1, "held": 1}


def test_it_is_not_made_again_when_that_would_be_late(ledger: Ledger) -> None:
    called(ledger, "m", valid_for=65)
    ledger.expire_leases(LOST, resend={"notice"})
    assert ledger.states() == {"unknown": 1}


def test_an_outcome_that_is_to_be_made_again_is_remembered_as_such(ledger: Ledger) -> None:
    first = called(ledger, "m")
    ledger.record(Recorded(first.id, 1, State.HELD, AGAIN, None, "no reply", resent=True))
    [second] = claimed_again(ledger, AGAIN)
    ledger.record(Recorded(first.id, 2, State.HELD, AGAIN + LEASE, None, "no connection"))
    assert [second.resent, *(third.resent for third in claimed_again(ledger, AGAIN + LEASE))] == [True, True]


@pytest.mark.parametrize("status", [1, -1])
def test_what_is_reported_before_it_was_made_again_was_taken_and_is_not_called(ledger: Ledger, status: int) -> None:
    call = called(ledger, "m", mobile(1), mobile(2))
    ledger.expire_leases(LOST, resend={"notice"})
    ledger.push(status_push((mobile(2), call.msg_id, status)), received_at=LOST)
    assert claimed_again(ledger, AGAIN) == []
    assert ledger.statuses() == {mobile(1): "accepted", mobile(2): "delivered" if status == 1 else "undelivered"}
    [row] = ledger.rows(t.submissions)
    assert (row["attempt"], row["due_at"]) == (1, None)


def test_a_report_of_somebody_elses_mobile_under_that_msg_id_does_not_keep_it_from_being_made_again(
    ledger: Ledger,
) -> None:
    call = called(ledger, "m", mobile(1))
    ledger.expire_leases(LOST, resend={"notice"})
    ledger.push(status_push((mobile(9), call.msg_id, 1)))
    assert len(claimed_again(ledger, AGAIN)) == 1


def test_a_report_that_is_there_does_not_keep_a_first_call_from_being_made(ledger: Ledger) -> None:
    [submission_ids] = ledger.accept(message("m", mobile(1))).values()
    [row] = ledger.rows(t.submissions)
    ledger.push(status_push((mobile(1), int(str(row["msg_id"])), 1)))
    assert len(ledger.claim(submission_ids)) == 1


@pytest.mark.parametrize("tick_comes_first", [True, False])
def test_what_was_to_be_made_again_and_is_late_is_unknown_still_and_not_expired(
    ledger: Ledger, tick_comes_first: bool
) -> None:
    called(ledger, "m", valid_for=90)
    ledger.expire_leases(LOST, resend={"notice"})
    late = NOW + timedelta(seconds=90)
    assert ledger.expire(late) == 1 if tick_comes_first else ledger.pull(late).claimed == []
    assert ledger.states() == {"unknown": 1}


def test_a_person_has_it_sent_again_at_once_under_the_same_msg_id(ledger: Ledger) -> None:
    first = made_unknown(ledger, "m", mobile(1), mobile(2))
    assert resend(ledger, now=LOST) == 1
    [second] = claimed_again(ledger, LOST)
    assert (second.msg_id, set(second.mobiles), second.resent) == (first.msg_id, {mobile(1), mobile(2)}, True)


def test_a_person_may_have_it_sent_again_more_than_once(ledger: Ledger) -> None:
    made_unknown(ledger, "m")
    for attempt in (2, 3):
        assert resend(ledger) == 1
        [call] = claimed_again(ledger, NOW)
        assert ledger.record(Recorded(call.id, attempt, State.UNKNOWN, None, None, None)) == 1


@pytest.mark.parametrize(
    ("lane", "valid_for", "later", "expires_after"),
    [
        ("otp", None, timedelta(days=3), timedelta(minutes=5)),
        ("notice", 60, timedelta(days=3), timedelta(hours=24)),
        ("notice", 7 * 86400, timedelta(days=3), timedelta(days=4)),
    ],
)
def test_what_a_person_has_sent_again_is_valid_for_as_long_as_a_new_one_of_its_lane_at_least(
    ledger: Ledger, lane: str, valid_for: int | None, later: timedelta, expires_after: timedelta
) -> None:
    made_unknown(ledger, "m", lane=lane, **({"valid_for": valid_for} if valid_for else {}))
    resend(ledger, now=NOW + later)
    [call] = claimed_again(ledger, NOW + later, lane)
    assert call.expires_at - (NOW + later) == expires_after


@pytest.mark.parametrize("report", list(Report))
def test_a_persons_word_is_the_report_of_those_that_have_none(ledger: Ledger, report: Report) -> None:
    call = made_unknown(ledger, "m", mobile(1), mobile(2), mobile(3))
    ledger.push(status_push((mobile(1), call.msg_id, -1)))
    assert count(ledger) == (1, 2)
    assert resolve(ledger, report) == 2
    assert ledger.statuses() == {mobile(1): "undelivered", mobile(2): report, mobile(3): report}
    assert {row["said_by"] for row in ledger.rows(t.reports)} == {None, "operator:alice"}
    assert (count(ledger), resolve(ledger, report), resend(ledger)) == ((0, 0), 0, 0)


def test_the_gateways_report_of_the_same_is_kept_whichever_came_first(ledger: Ledger) -> None:
    call = made_unknown(ledger, "m", mobile(1))
    resolve(ledger, Report.DELIVERED, now=NOW)
    for seconds in (1, -1):
        ledger.push(status_push((mobile(1), call.msg_id, 1)), received_at=NOW + timedelta(seconds=seconds))
    [row] = ledger.rows(t.reports)
    assert (row["said_by"], row["received_at"]) == (None, NOW - timedelta(seconds=1))


def test_what_a_person_called_failed_is_delivered_when_the_gateway_says_so(ledger: Ledger) -> None:
    call = made_unknown(ledger, "m", mobile(1))
    resolve(ledger, Report.UNDELIVERED)
    ledger.push(status_push((mobile(1), call.msg_id, 1)))
    assert ledger.statuses() == {mobile(1): "delivered"}


def test_that_a_person_called_one_failed_does_not_keep_the_rest_from_being_sent_again(ledger: Ledger) -> None:
    made_unknown(ledger, "m", mobile(1), mobile(2))
    assert resolve(ledger, Report.UNDELIVERED, UnknownFilter(pairs=[("m", mobile(1))])) == 1
    assert resend(ledger) == 1
    assert len(claimed_again(ledger, NOW)) == 1


def test_nothing_but_what_is_unknown_is_touched(ledger: Ledger) -> None:
    called(ledger, "calling")
    ledger.accept(message("queued"), message("held", at=NOW + timedelta(hours=1)))
    call = called(ledger, "accepted")
    ledger.record(Recorded(call.id, 1, State.ACCEPTED, None, "1", None))
    assert (resend(ledger), resolve(ledger, Report.DELIVERED)) == (0, 0)
    assert ledger.states() == {"submitting": 1, "queued": 1, "held": 1, "accepted": 1}


def test_the_filters_narrow_what_is_meant(ledger: Ledger) -> None:
    made_unknown(ledger, "m", mobile(1), mobile(2))
    made_unknown(ledger, "n", lane="marketing")

    def counts(**which: Any) -> tuple[int, int]:
        return count(ledger, UnknownFilter(**which))

    assert counts() == (2, 3)
    assert counts(lane="marketing") == counts(ids=["n"]) == (1, 1)
    assert counts(ids=["m"], pairs=[("n", mobile(0))]) == (2, 3)
    assert counts(pairs=[("m", mobile(1))]) == (1, 1)
    assert counts(account="default", since=NOW) == (2, 3)
    assert counts(account="other") == counts(since=NOW + timedelta(seconds=1)) == counts(ids=["x"]) == (0, 0)


def test_what_was_accepted_long_ago_is_unreported_the_oldest_first(ledger: Ledger) -> None:
    for number in range(3):
        call = called(ledger, f"m{number}", mobile(number))
        at = NOW + timedelta(minutes=number)
        ledger.record(Recorded(call.id, 1, State.ACCEPTED, None, "1", None), now=at)
    assert ledger.unreport(NOW + timedelta(minutes=1), most=1) == 1
    assert ledger.unreport(NOW + timedelta(minutes=1)) == 1
    assert ledger.unreport(NOW + timedelta(minutes=1)) == 0
    assert ledger.statuses() == {mobile(0): "unreported", mobile(1): "unreported", mobile(2): "accepted"}


def test_a_report_that_comes_after_the_wait_still_counts(ledger: Ledger) -> None:
    call = called(ledger, "m", mobile(1))
    ledger.record(Recorded(call.id, 1, State.ACCEPTED, None, "1", None))
    ledger.unreport(NOW)
    ledger.push(status_push((mobile(1), call.msg_id, 1)), received_at=NOW + timedelta(days=9))
    assert ledger.statuses() == {mobile(1): "delivered"}


def test_what_is_looked_for_every_second_is_found_by_an_index(ledger: Ledger, statements: list[str]) -> None:
    def plan(connection: Connection) -> str:
        explain = "EXPLAIN QUERY PLAN " if connection.dialect.name == "sqlite" else "EXPLAIN "
        if connection.dialect.name == "postgresql":
            connection.execute(text("SET enable_seqscan = off"))
        query = "SELECT id FROM submissions WHERE state = 'accepted' AND updated_at <= '2026-01-01' ORDER BY updated_at"
        return str(connection.execute(text(explain + query)).all())

    ledger.unreport(NOW)
    assert "state = 'accepted'" in statements[-1]
    with ledger.engine.connect() as connection:
        assert "ix_submissions_accepted" in plan(connection)

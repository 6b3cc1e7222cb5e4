"""Which unknown submissions the ledger says were probably not taken, and what is done with them."""

import json
from datetime import datetime, timedelta
from itertools import count
from typing import Any

import pytest
from ledger_driver import NOW, Ledger, message, mobile, status_push
from sms_command import sms, sms_json
from sqlalchemy import event, select, text, update

from worker.domain.status import State
from worker.domain.submission import Recorded
from worker.ledger import tables as t
from worker.ledger.inbound import pushes
from worker.ledger.sending import evidence
from worker.maintenance.settle import resend_probable, settle

LATER = NOW + timedelta(minutes=10)


def call(ledger: Ledger, n: int, state: State, *, lane: str = "notice", at: datetime | None = None) -> tuple[int, int]:
    """Adds a call that ended in that state, `n` seconds after NOW. Returns the id of its submission, and its msgId."""
    at = at or NOW + timedelta(seconds=n)
    [submission_ids] = ledger.accept(message(f"m{n}", mobile(2 * n), mobile(2 * n + 1), lane=lane), now=at).values()
    [claimed] = ledger.claim(submission_ids, at)
    ledger.record(Recorded(claimed.id, claimed.attempt, state, None, None, None), now=at + timedelta(seconds=30))
    return claimed.id, claimed.msg_id


def calls(ledger: Ledger, states: str, **fields: Any) -> dict[int, int]:
    """Adds calls in a row. `a` was taken, with a report 5 seconds later; `s` was taken, without one; `u` is unknown.
    Returns the unknown ones.
    """
    unknown = {}
    for n, state in enumerate(states):
        submission_id, msg_id = call(ledger, n, State.UNKNOWN if state == "u" else State.ACCEPTED, **fields)
        if state == "a":
            ledger.push(status_push((mobile(2 * n), msg_id, 1)), NOW + timedelta(seconds=n + 5))
        elif state == "u":
            unknown[n] = submission_id
    return unknown


def probable(ledger: Ledger, now: datetime = LATER) -> list[int]:
    return sorted(evidence.find_probably_not_taken(ledger.engine, now=now))


def test_an_unknown_call_between_calls_that_were_reported_on_was_probably_not_taken(ledger: Ledger) -> None:
    unknown = calls(ledger, "aaauaaa")
    assert probable(ledger, NOW + timedelta(seconds=100)) == []
    assert probable(ledger) == [unknown[3]]


def test_many_unknown_in_a_row_have_the_calls_around_all_of_them_as_neighbours(ledger: Ledger) -> None:
    unknown = calls(ledger, "aaa" + "u" * 12 + "aaa")
    assert probable(ledger) == sorted(unknown.values())


def test_a_report_of_one_recipient_shows_that_the_call_was_taken(ledger: Ledger) -> None:
    calls(ledger, "aaauaaa")
    [row] = (row for row in ledger.rows(t.submissions) if row["state"] == "unknown")
    ledger.push(status_push((mobile(7), int(str(row["msg_id"])), -1)), LATER)
    assert probable(ledger, LATER + timedelta(hours=1)) == []


@pytest.mark.parametrize("states", ["u", "aaau", "uaaa", "sssusss", "aaausaaa"])
def test_where_the_neighbours_say_nothing_it_is_open(ledger: Ledger, states: str) -> None:
    calls(ledger, states)
    assert probable(ledger) == []


def test_while_a_push_waits_to_be_read_it_is_open(ledger: Ledger) -> None:
    unknown = calls(ledger, "aaauaaa")
    with ledger.engine.begin() as connection:
        pushes.add(connection, b"<x/>", source="127.0.0.1", received_at=LATER - timedelta(seconds=11))
    assert probable(ledger) == []
    with ledger.engine.begin() as connection:
        connection.execute(text("UPDATE pushes SET state = 'processed', due_at = NULL"))
    assert probable(ledger) == list(unknown.values())


def test_what_an_older_version_called_has_no_time_of_its_call_and_is_open(ledger: Ledger) -> None:
    calls(ledger, "aaauaaa")
    with ledger.engine.begin() as connection:
        connection.execute(update(t.submissions).values(called_at=None))
    assert probable(ledger) == []


def test_a_lane_that_says_so_has_it_sent_once_more_and_no_other_lane(ledger: Ledger) -> None:
    calls(ledger, "aaauaaa")
    settle(ledger.engine, probable=["marketing"], now=LATER)
    assert ledger.states()["unknown"] == 1
    settle(ledger.engine, probable=["notice"], now=LATER)
    [again] = ledger.pull(LATER).claimed
    assert (again.resent, again.attempt) == (True, 2)
    ledger.record(Recorded(again.id, 2, State.UNKNOWN, None, None, None), now=LATER)
    settle(ledger.engine, probable=["notice"], now=LATER + timedelta(minutes=5))
    assert ledger.states()["unknown"] == 1


def test_by_itself_nothing_is_sent_once_more_that_is_not_valid_any_more(ledger: Ledger) -> None:
    calls(ledger, "aaauaaa", lane="otp")
    settle(ledger.engine, probable=["otp"], now=LATER)
    assert ledger.states()["unknown"] == 1


def test_the_neighbours_are_found_by_an_index_however_large_the_ledger_is(
    ledger: Ledger, statements: list[str]
) -> None:
    calls(ledger, "aaauaaa")
    statements.clear()
    probable(ledger)
    assert len([statement for statement in statements if statement.startswith(("SELECT", "WITH"))]) <= 6


def many_unknown(ledger: Ledger, number: int) -> list[int]:
    """Adds that many calls that were probably not taken. No two of them are close together, and the ledger has nothing
    in between.
    """
    unknown = list(calls(ledger, "aaa" + "u" * number + "aaa").values())
    with ledger.engine.begin() as connection:
        rows = connection.execute(
            select(t.submissions.c.id, t.submissions.c.msg_id).order_by(t.submissions.c.id.desc())
        ).all()
        for submission_id, msg_id in rows:
            far = t.submissions.c.msg_id + 2 * evidence.CLOSE * (submission_id - unknown[0])
            if submission_id in unknown:
                connection.execute(update(t.submissions).where(t.submissions.c.id == submission_id).values(msg_id=far))
            elif submission_id > unknown[-1]:
                last = msg_id + 2 * evidence.CLOSE * number
                connection.execute(update(t.submissions).where(t.submissions.c.id == submission_id).values(msg_id=last))
                connection.execute(update(t.reports).where(t.reports.c.msg_id == msg_id).values(msg_id=last))
    return unknown


def test_one_settle_judges_what_it_has_time_for_and_the_next_goes_on_after_it(
    ledger: Ledger, statements: list[str]
) -> None:
    number = 2 * evidence.PAGE + evidence.PAGE // 2
    unknown = many_unknown(ledger, number)
    sent_again = []
    for _ in range(3):
        statements.clear()
        resend_probable(ledger.engine, ["notice"], now=LATER, clock=count().__next__)
        # Three walks for each, and a few for the page.
        assert len([statement for statement in statements if statement.startswith("SELECT")]) <= 3 * evidence.PAGE + 10
        sent_again.append(ledger.states()["held"])
    assert sent_again == [evidence.PAGE, 2 * evidence.PAGE, number]
    assert {row["id"] for row in ledger.rows(t.submissions) if row["state"] == "held"} == set(unknown)


def test_after_the_last_unknown_one_it_begins_anew_and_finds_what_was_open_before(ledger: Ledger) -> None:
    many_unknown(ledger, evidence.PAGE + 1)
    for _ in range(2):
        resend_probable(ledger.engine, ["notice"], now=NOW + timedelta(seconds=100), clock=count().__next__)
    assert ledger.states()["held"] == 0
    resend_probable(ledger.engine, ["notice"], now=LATER, clock=count().__next__)
    assert ledger.states()["held"] == evidence.PAGE


def test_those_that_cannot_be_sent_again_take_nothing_of_its_time(ledger: Ledger, statements: list[str]) -> None:
    many_unknown(ledger, 2 * evidence.PAGE)
    with ledger.engine.begin() as connection:
        connection.execute(update(t.submissions).values(expires_at=LATER))
    statements.clear()
    resend_probable(ledger.engine, ["notice"], now=LATER, clock=count().__next__)
    assert len([statement for statement in statements if statement.startswith("SELECT")]) == 2
    assert ledger.states()["held"] == 0


def test_whoever_asks_for_all_looks_at_all_and_lets_the_ledger_go_after_each_page(ledger: Ledger) -> None:
    unknown = many_unknown(ledger, 2 * evidence.PAGE + 1)
    taken: list[tuple[object, ...]] = []
    event.listen(ledger.engine, "checkout", lambda *args: taken.append(args))
    assert probable(ledger) == unknown
    assert len(taken) == 3


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, ledger_url: str) -> None:
    monkeypatch.setenv("SMS_LEDGER_URL", ledger_url)
    monkeypatch.setenv("LOGNAME", "alice")


@pytest.mark.usefixtures("command")
def test_the_list_says_which_were_probably_not_taken_and_why(ledger: Ledger) -> None:
    calls(ledger, "aaauaaa")
    [row] = sms_json("unknown", "list")
    assert "those of 6 calls made just before and after it came within 5 s" in row["probably_not_taken"]
    assert "m3 was probably not taken: no report in " in sms("unknown", "list").stdout


@pytest.mark.usefixtures("command")
def test_what_was_probably_not_taken_is_sent_again_after_a_count_and_a_question_and_no_other(ledger: Ledger) -> None:
    unknown = calls(ledger, "aaauaaa")
    call(ledger, 90, State.UNKNOWN, at=NOW + timedelta(hours=2))
    refused = sms("unknown", "resolve", "--resend", "--probable")
    assert refused.exit_code == 1
    assert "2 recipients of 1 calls are unknown, and were probably not taken: send again?" in refused.stderr
    assert sms_json("unknown", "resolve", "--resend", "--probable", "--yes") == {"submissions": 1}
    [held] = (row["id"] for row in ledger.rows(t.submissions) if row["state"] == "held")
    assert [held] == list(unknown.values())
    assert sms("unknown", "resolve", "--delivered", "--probable", "--yes").exit_code == 2


@pytest.mark.usefixtures("command")
def test_what_is_sent_again_is_valid_for_as_long_as_its_lane_is_set_to(
    ledger: Ledger, tmp_path, monkeypatch: pytest.MonkeyPatch
) -> None:
    call(ledger, 0, State.UNKNOWN, lane="otp")
    (tmp_path / "sms.toml").write_text("[lanes.otp]\nvalidity = 3600")
    monkeypatch.setenv("SMS_CONFIG", str(tmp_path / "sms.toml"))
    assert json.loads(sms("unknown", "resolve", "--all", "--resend", "--yes", "--json").stdout) == {"submissions": 1}
    [row] = ledger.rows(t.submissions)
    assert row["expires_at"] - row["due_at"] == timedelta(hours=1)

"""Which unknown submissions the ledger says were probably not taken, and what is done with them."""

import json
from datetime import datetime, timedelta

import pytest
from ledger_of import NOW, Ledger, message, mobile, status_push
from sms_command import sms, told
from sqlalchemy import text, update

from worker import upkeep
from worker.domain.status import State
from worker.ledger import evidence
from worker.ledger import pushes as kept
from worker.ledger.submissions import Recorded
from worker.ledger.tables import submissions

LATER = NOW + timedelta(minutes=10)


def call(ledger: Ledger, n: int, state: State, *, lane: str = "notice", at: datetime | None = None) -> tuple[int, int]:
    """A call that ended so, a second for each after NOW; the number of its submission and its msgId."""
    at = at or NOW + timedelta(seconds=n)
    [nos] = ledger.accept(message(f"m{n}", mobile(2 * n), mobile(2 * n + 1), lane=lane), now=at).values()
    [one] = ledger.claim(nos, at)
    ledger.record(Recorded(one.no, one.attempt, state, None, None, None), now=at + timedelta(seconds=30))
    return one.no, one.msg_id


def calls(ledger: Ledger, states: str, **fields: object) -> dict[int, int]:
    """Calls in a row: `a` was taken and is reported on 5 seconds later, `s` was taken and is not, `u` is unknown. Those unknown."""
    unknown = {}
    for n, state in enumerate(states):
        no, msg_id = call(ledger, n, State.UNKNOWN if state == "u" else State.ACCEPTED, **fields)  # type: ignore[arg-type]
        if state == "a":
            ledger.push(status_push((mobile(2 * n), msg_id, 1)), NOW + timedelta(seconds=n + 5))
        elif state == "u":
            unknown[n] = no
    return unknown


def probable(ledger: Ledger, now: datetime = LATER) -> list[int]:
    with ledger.engine.connect() as connection:
        return sorted(evidence.probable(connection, now=now))


def test_an_unknown_call_between_calls_that_were_reported_on_was_probably_not_taken(ledger: Ledger) -> None:
    unknown = calls(ledger, "aaauaaa")
    assert probable(ledger, NOW + timedelta(seconds=100)) == []
    assert probable(ledger) == [unknown[3]]


def test_many_unknown_in_a_row_have_the_calls_around_all_of_them_as_neighbours(ledger: Ledger) -> None:
    unknown = calls(ledger, "aaa" + "u" * 12 + "aaa")
    assert probable(ledger) == sorted(unknown.values())


def test_a_report_of_one_recipient_shows_that_the_call_was_taken(ledger: Ledger) -> None:
    calls(ledger, "aaauaaa")
    [row] = (row for row in ledger.rows(submissions) if row["state"] == "unknown")
    ledger.push(status_push((mobile(7), int(str(row["msg_id"])), -1)), LATER)
    assert probable(ledger, LATER + timedelta(hours=1)) == []


@pytest.mark.parametrize("states", ["u", "aaau", "uaaa", "sssusss", "aaausaaa"])
def test_where_the_neighbours_say_nothing_it_is_open(ledger: Ledger, states: str) -> None:
    calls(ledger, states)
    assert probable(ledger) == []


def test_while_a_push_waits_to_be_read_it_is_open(ledger: Ledger) -> None:
    unknown = calls(ledger, "aaauaaa")
    with ledger.engine.begin() as connection:
        kept.add(connection, b"<x/>", source="127.0.0.1", received_at=LATER - timedelta(seconds=11))
    assert probable(ledger) == []
    with ledger.engine.begin() as connection:
        connection.execute(text("UPDATE pushes SET state = 'processed', due_at = NULL"))
    assert probable(ledger) == list(unknown.values())


def test_what_an_older_version_called_has_no_time_of_its_call_and_is_open(ledger: Ledger) -> None:
    calls(ledger, "aaauaaa")
    with ledger.engine.begin() as connection:
        connection.execute(update(submissions).values(called_at=None))
    assert probable(ledger) == []


def test_a_lane_that_says_so_has_it_sent_once_more_and_no_other_lane(ledger: Ledger) -> None:
    calls(ledger, "aaauaaa")
    upkeep.settle(ledger.engine, probable=["marketing"], now=LATER)
    assert ledger.states()["unknown"] == 1
    upkeep.settle(ledger.engine, probable=["notice"], now=LATER)
    [again] = ledger.pull(LATER).claimed
    assert (again.resent, again.attempt) == (True, 2)
    ledger.record(Recorded(again.no, 2, State.UNKNOWN, None, None, None), now=LATER)
    upkeep.settle(ledger.engine, probable=["notice"], now=LATER + timedelta(minutes=5))
    assert ledger.states()["unknown"] == 1


def test_by_itself_nothing_is_sent_once_more_that_is_not_valid_any_more(ledger: Ledger) -> None:
    calls(ledger, "aaauaaa", lane="otp")
    upkeep.settle(ledger.engine, probable=["otp"], now=LATER)
    assert ledger.states()["unknown"] == 1


def test_the_neighbours_are_found_by_an_index_however_large_the_ledger_is(
    ledger: Ledger, statements: list[str]
) -> None:
    calls(ledger, "aaauaaa")
    statements.clear()
    probable(ledger)
    assert len([one for one in statements if one.startswith(("SELECT", "WITH"))]) <= 6


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, ledger_url: str) -> None:
    monkeypatch.setenv("SMS_LEDGER_URL", ledger_url)
    monkeypatch.setenv("LOGNAME", "alice")


@pytest.mark.usefixtures("command")
def test_the_list_says_which_were_probably_not_taken_and_why(ledger: Ledger) -> None:
    calls(ledger, "aaauaaa")
    [one] = told("unknown", "list")
    assert "those of 6 calls made just before and after it came within 5 s" in one["probably_not_taken"]
    assert "m3 was probably not taken: no report in " in sms("unknown", "list").stdout


@pytest.mark.usefixtures("command")
def test_what_was_probably_not_taken_is_sent_again_after_a_count_and_a_question_and_no_other(ledger: Ledger) -> None:
    unknown = calls(ledger, "aaauaaa")
    call(ledger, 90, State.UNKNOWN, at=NOW + timedelta(hours=2))
    refused = sms("unknown", "resolve", "--resend", "--probable")
    assert refused.exit_code == 1
    assert "2 recipients of 1 calls are unknown, and were probably not taken: send again?" in refused.stderr
    assert told("unknown", "resolve", "--resend", "--probable", "--yes") == {"submissions": 1}
    [held] = (row["no"] for row in ledger.rows(submissions) if row["state"] == "held")
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
    [row] = ledger.rows(submissions)
    assert row["expires_at"] - row["due_at"] == timedelta(hours=1)

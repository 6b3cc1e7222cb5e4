"""The gate of an account: closed by the gateway's answers or by hand, probed by one, and nothing is burnt meanwhile."""

from datetime import datetime, timedelta

import pytest
from ledger_of import NOW, Ledger, message, mobile
from sqlalchemy import update

from worker.domain.gate import LOOK_AGAIN, NOT_SENT_IN_A_ROW, PROBE_AFTER, Gate, closes
from worker.domain.outcome import Outcome, Verdict
from worker.domain.status import State
from worker.keep_gate import keep_gate
from worker.ledger import gates, submissions
from worker.ledger.submissions import STRAY_AFTER, Claimed, Recorded
from worker.ledger.tables import submissions as table

MINUTE = timedelta(minutes=1)
WRONG_PASSWORD = Outcome(Verdict.ACCOUNT, "-3", "Key验证失败")


def gate(ledger: Ledger) -> Gate:
    with ledger.engine.connect() as connection:
        (found,) = gates.gates(connection)
    return found


def fails(
    ledger: Ledger, claimed: Claimed, now: datetime, outcome: Outcome = WRONG_PASSWORD, in_a_row: int = 0
) -> None:
    """The call's outcome is written down as `submit` does it, for a verdict that holds the submission."""
    ledger.record(
        Recorded(claimed.no, claimed.attempt, State.HELD, now + MINUTE, outcome.result, outcome.tips), now=now
    )
    keep_gate(ledger.engine, claimed, outcome, not_sent_in_a_row=in_a_row, now=now)


def release_probes(ledger: Ledger, now: datetime) -> list[int]:
    with ledger.engine.begin() as connection:
        return [no for no, _ in submissions.release_probes(connection, now=now)]


@pytest.fixture
def closed(ledger: Ledger) -> list[int]:
    """Five submissions of an account whose password was just found to be wrong by the first of them."""
    nos = ledger.accept(message("m", *map(mobile, range(5))), max_mobiles=1)["m"]
    (first,) = ledger.claim(nos[:1])
    fails(ledger, first, NOW)
    return nos


def test_a_wrong_password_closes_the_gate_and_what_was_queued_is_held(ledger: Ledger, closed: list[int]) -> None:
    found = gate(ledger)
    assert (found.is_open, found.by, found.since, found.until) == (False, "gateway", NOW, NOW + MINUTE)
    assert found.reason == "account: -3 Key验证失败"
    assert ledger.claim(closed[1:]) == []
    assert ledger.states() == {"held": 5}


def test_while_it_is_closed_nothing_is_released(ledger: Ledger, closed: list[int]) -> None:
    ledger.claim(closed[1:])
    soon = NOW + MINUTE - timedelta(seconds=1)
    assert ledger.release(soon) == release_probes(ledger, soon) == []


def test_after_a_minute_one_submission_probes_it_and_each_minute_another(ledger: Ledger, closed: list[int]) -> None:
    ledger.claim(closed[1:])
    for minutes in (1, 2, 3):
        now = NOW + minutes * MINUTE
        assert ledger.release(now) == []
        (no,) = release_probes(ledger, now)
        assert release_probes(ledger, now) == []
        (probe,) = ledger.claim([no], now)
        assert probe.probe
        fails(ledger, probe, now)
    assert gate(ledger).since == NOW
    assert ledger.states() == {"held": 5}


def test_of_several_that_come_to_a_gate_that_may_be_probed_one_goes_through(ledger: Ledger, closed: list[int]) -> None:
    assert [one.probe for one in ledger.claim(closed[1:], NOW + MINUTE)] == [True]
    assert ledger.states() == {"held": 4, "submitting": 1}


def test_a_probe_that_goes_through_opens_the_gate_and_all_the_others_follow(ledger: Ledger, closed: list[int]) -> None:
    ledger.claim(closed[1:])
    now = NOW + MINUTE
    (probe,) = ledger.claim(release_probes(ledger, now), now)
    ledger.record(Recorded(probe.no, probe.attempt, State.ACCEPTED, None, "1", "成功"), now=now)
    keep_gate(ledger.engine, probe, Outcome(Verdict.ACCEPTED, "1", "成功"), not_sent_in_a_row=0, now=now)
    assert gate(ledger).is_open
    later = now + LOOK_AGAIN
    assert len(ledger.claim(ledger.release(later), later)) == 4


def test_a_probe_whose_task_is_lost_is_followed_by_another(ledger: Ledger, closed: list[int]) -> None:
    ledger.claim(closed[1:])
    assert len(release_probes(ledger, NOW + MINUTE)) == 1
    later = NOW + MINUTE + STRAY_AFTER
    assert len(release_probes(ledger, later)) == 1


def test_what_waits_behind_a_closed_gate_for_too_long_expires(ledger: Ledger, closed: list[int]) -> None:
    ledger.claim(closed[1:])
    with ledger.engine.begin() as connection:
        connection.execute(update(table).values(expires_at=NOW + MINUTE))
    release_probes(ledger, NOW + 2 * MINUTE)
    assert ledger.states() == {"expired": 5}


def test_a_gate_that_a_person_closed_is_not_probed_and_only_a_person_opens_it(ledger: Ledger) -> None:
    nos = ledger.accept(message("m", mobile(1), mobile(2)), max_mobiles=1)["m"]
    (under_way,) = ledger.claim(nos[:1])
    with ledger.engine.begin() as connection:
        assert gates.pause(connection, "default", reason="wrong text", by="operator:alice", now=NOW)
    fails(ledger, under_way, NOW)
    assert (gate(ledger).reason, gate(ledger).by, gate(ledger).until) == ("wrong text", "operator:alice", None)
    assert ledger.claim(nos[1:]) == release_probes(ledger, NOW + timedelta(hours=1)) == []
    with ledger.engine.begin() as connection:
        assert gates.resume(connection, "default", by="operator:alice", now=NOW)
    later = NOW + timedelta(hours=2)
    assert len(ledger.claim(ledger.release(later), later)) == 2


def test_one_account_behind_its_gate_is_no_trouble_of_anothers(ledger: Ledger, closed: list[int]) -> None:
    from worker.ledger import accounts

    with ledger.engine.begin() as connection:
        ledger.account_ids |= accounts.register(connection, ["shop"], first_msg_id=1, now=NOW)
    (no,) = ledger.accept(message("n", account="shop"))["n"]
    assert [one.no for one in ledger.claim([closed[1], no])] == [no]


@pytest.mark.parametrize(
    ("verdict", "in_a_row", "probe", "wait"),
    [
        (Verdict.ACCOUNT, 0, False, MINUTE),
        (Verdict.CLOCK, 0, False, MINUTE),
        (Verdict.NOT_SENT, NOT_SENT_IN_A_ROW - 1, False, None),
        (Verdict.NOT_SENT, NOT_SENT_IN_A_ROW, False, PROBE_AFTER[Verdict.NOT_SENT]),
        (Verdict.NOT_SENT, 1, True, PROBE_AFTER[Verdict.NOT_SENT]),
        *((verdict, 99, False, None) for verdict in Verdict if verdict not in PROBE_AFTER),
    ],
)
def test_what_an_outcome_says_of_the_gate(verdict: Verdict, in_a_row: int, probe: bool, wait: timedelta | None) -> None:
    assert closes(Outcome(verdict), not_sent_in_a_row=in_a_row, probe=probe) == wait


def test_the_skew_of_the_gateways_clock_is_noted(ledger: Ledger) -> None:
    with ledger.engine.begin() as connection:
        gates.note_skew(connection, ledger.account_ids["default"], timedelta(minutes=-10))
        assert gates.skews(connection) == {"default": timedelta(minutes=-10)}

"""The gate of an account: closed by the gateway's answers or by hand, probed by one, and nothing is burnt meanwhile."""

from datetime import datetime, timedelta

import pytest
from ledger_of import NOW, Ledger, lanes_now, message, mobile
from sqlalchemy import update

from worker.domain.gate import NOT_SENT_IN_A_ROW, PROBE_AFTER, PROBE_AGAIN, Gate, closes
from worker.domain.outcome import BACKOFF_FIRST, Outcome, Verdict
from worker.domain.status import State
from worker.keep_gate import keep_gate
from worker.ledger import gates, turns
from worker.ledger.submissions import Recorded
from worker.ledger.tables import submissions as table
from worker.ledger.turns import Claimed

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
        Recorded(claimed.no, claimed.attempt, State.HELD, now + BACKOFF_FIRST, outcome.result, outcome.tips), now=now
    )
    keep_gate(ledger.engine, claimed, outcome, not_sent_in_a_row=in_a_row, now=now)


def to_be_probed(ledger: Ledger, now: datetime) -> list[int]:
    with ledger.engine.connect() as connection:
        return turns.to_be_probed(connection, lambda _: lanes_now(now), now=now)


@pytest.fixture
def closed(ledger: Ledger) -> list[int]:
    """Five submissions of an account whose password was just found to be wrong by the first of them."""
    nos = ledger.accept(message("m", *map(mobile, range(5))), max_mobiles=1)["m"]
    (first,) = ledger.claim(nos[:1])
    fails(ledger, first, NOW)
    return nos


def test_a_wrong_password_closes_the_gate_and_the_others_wait_behind_it(ledger: Ledger, closed: list[int]) -> None:
    found = gate(ledger)
    assert (found.is_open, found.by, found.since, found.until) == (False, "gateway", NOW, NOW + MINUTE)
    assert found.reason == "account: -3 Key验证失败"
    assert ledger.claim(closed[1:]) == ledger.pull().claimed == []
    assert ledger.states() == {"held": 1, "queued": 4}


def test_before_its_time_a_closed_gate_is_not_probed(ledger: Ledger, closed: list[int]) -> None:
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
    (no,) = ledger.accept(message("o", lane="otp"))["o"]
    assert [one.no for one in ledger.claim_probe(NOW + MINUTE)] == [no]


def test_no_advertisement_probes_a_gate_at_night(ledger: Ledger, closed: list[int]) -> None:
    with ledger.engine.begin() as connection:
        connection.execute(update(table).values(lane="marketing"))
    night = NOW + timedelta(hours=12)
    assert to_be_probed(ledger, night) == ledger.claim_probe(night) == []
    assert len(ledger.claim_probe(NOW + timedelta(hours=20))) == 1


def test_a_gate_behind_which_nothing_is_due_is_not_probed(ledger: Ledger, closed: list[int]) -> None:
    with ledger.engine.begin() as connection:
        connection.execute(update(table).values(due_at=NOW + timedelta(hours=1)))
    assert to_be_probed(ledger, NOW + MINUTE) == ledger.claim_probe(NOW + MINUTE) == []
    assert gate(ledger).until == NOW + MINUTE


def test_a_probe_that_goes_through_opens_the_gate_and_all_the_others_follow_at_once(
    ledger: Ledger, closed: list[int]
) -> None:
    now = NOW + MINUTE
    (probe,) = ledger.claim_probe(now)
    ledger.record(Recorded(probe.no, probe.attempt, State.ACCEPTED, None, "1", "成功"), now=now)
    keep_gate(ledger.engine, probe, Outcome(Verdict.ACCEPTED, "1", "成功"), not_sent_in_a_row=0, now=now)
    assert gate(ledger).is_open
    assert len(ledger.pull(now).claimed) == 4


def test_a_probe_whose_worker_is_lost_is_followed_by_another(ledger: Ledger, closed: list[int]) -> None:
    assert len(ledger.claim_probe(NOW + MINUTE)) == 1
    later = NOW + MINUTE + PROBE_AGAIN
    assert len(ledger.claim_probe(later)) == 1


def test_what_waits_behind_a_closed_gate_for_too_long_expires(ledger: Ledger, closed: list[int]) -> None:
    with ledger.engine.begin() as connection:
        connection.execute(update(table).values(expires_at=NOW + MINUTE))
    assert ledger.expire(NOW + 2 * MINUTE) == 5
    assert ledger.states() == {"expired": 5}


def test_a_gate_that_a_person_closed_is_not_probed_and_only_a_person_opens_it(ledger: Ledger) -> None:
    nos = ledger.accept(message("m", mobile(1), mobile(2)), max_mobiles=1)["m"]
    (under_way,) = ledger.claim(nos[:1])
    with ledger.engine.begin() as connection:
        assert gates.pause(connection, "default", reason="wrong text", by="operator:alice", now=NOW)
    fails(ledger, under_way, NOW)
    assert (gate(ledger).reason, gate(ledger).by, gate(ledger).until) == ("wrong text", "operator:alice", None)
    assert ledger.claim(nos[1:]) == ledger.claim_probe(NOW + timedelta(hours=1)) == []
    with ledger.engine.begin() as connection:
        assert gates.resume(connection, "default", by="operator:alice", now=NOW)
    assert len(ledger.pull(NOW + timedelta(hours=2)).claimed) == 2


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

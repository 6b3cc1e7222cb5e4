"""Messages in the ledger: accepted once, claimed by one, recorded, released, expired."""

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from ledger_of import LEASE, NOW, Ledger, message, mobile
from sqlalchemy import update
from sqlalchemy.exc import IntegrityError

from worker.domain.status import State
from worker.ledger import accounts as ledger_accounts
from worker.ledger.accounts import BLOCK, MSG_ID_END, reserve_msg_ids
from worker.ledger.submissions import STRAY_AFTER, Recorded
from worker.ledger.tables import accounts, messages, recipients, submissions

ACCEPTED = Recorded(0, 1, State.ACCEPTED, None, "1", "成功")


def test_a_message_is_dealt_out_to_submissions_of_at_most_the_mobiles_of_a_call(ledger: Ledger) -> None:
    queued = ledger.accept(message("m", *map(mobile, range(120))))
    claimed = ledger.claim(queued["m"])
    assert [len(one.mobiles) for one in claimed] == [50, 50, 20]
    assert sorted(to for one in claimed for to in one.mobiles) == sorted(map(mobile, range(120)))
    assert len({one.msg_id for one in claimed}) == 3


def test_a_message_that_comes_twice_is_one_message(ledger: Ledger) -> None:
    first = ledger.accept(message("m"), message("m"), message("n"))
    assert {key: len(nos) for key, nos in first.items()} == {"m": 1, "n": 1}
    assert ledger.accept(message("m", content="别的")) == {}
    assert len(ledger.rows(messages)) == len(ledger.rows(submissions)) == len(ledger.rows(recipients)) == 2


def test_a_message_for_later_is_held_until_then(ledger: Ledger) -> None:
    at = NOW + timedelta(hours=2)
    assert ledger.accept(message("m", at=at)) == {"m": []}
    assert ledger.release(at - timedelta(seconds=1)) == []
    (no,) = ledger.release(at)
    assert [one.no for one in ledger.claim([no], at)] == [no]


def test_a_message_for_a_moment_ago_is_queued(ledger: Ledger) -> None:
    assert len(ledger.accept(message("m", at=NOW - timedelta(seconds=30)))["m"]) == 1


def test_a_submission_is_claimed_once(ledger: Ledger) -> None:
    (no,) = ledger.accept(message("m"))["m"]
    assert len(ledger.claim([no])) == 1
    assert ledger.claim([no]) == []


def test_of_many_that_claim_one_submission_at_once_one_wins(ledger: Ledger) -> None:
    (no,) = ledger.accept(message("m"))["m"]
    with ThreadPoolExecutor(8) as threads:
        claims = list(threads.map(lambda _: ledger.claim([no]), range(50)))
    assert sum(len(claimed) for claimed in claims) == 1


def test_a_claim_carries_what_the_call_needs(ledger: Ledger) -> None:
    (no,) = ledger.accept(message("m", mobile(1), mobile(2), content="您的验证码是 123456"))["m"]
    (claimed,) = ledger.claim([no])
    assert claimed.content == "您的验证码是 123456"
    assert set(claimed.mobiles) == {mobile(1), mobile(2)}
    assert (claimed.attempt, claimed.expires_at) == (1, NOW + timedelta(hours=24))
    assert 0 < claimed.msg_id < 2**31


def test_what_is_past_its_validity_expires_instead_of_being_claimed(ledger: Ledger) -> None:
    (no,) = ledger.accept(message("m", lane="otp"))["m"]
    assert ledger.claim([no], NOW + timedelta(minutes=5)) == []
    assert ledger.states() == {"expired": 1}


def test_an_outcome_is_recorded_for_the_attempt_that_it_belongs_to(ledger: Ledger) -> None:
    (no,) = ledger.accept(message("m"))["m"]
    ledger.claim([no])
    assert ledger.record(Recorded(no, 2, State.REJECTED, None, "-1", None)) == 0
    assert ledger.record(Recorded(no, 1, State.ACCEPTED, None, "1", "成功")) == 1
    assert ledger.record(Recorded(no, 1, State.REJECTED, None, "-1", None)) == 0
    (row,) = ledger.rows(submissions)
    assert (row["state"], row["result"], row["tips"], row["due_at"]) == ("accepted", "1", "成功", None)


def test_many_outcomes_are_recorded_together(ledger: Ledger) -> None:
    nos = ledger.accept(message("m", *map(mobile, range(6))), max_mobiles=2)["m"]
    ledger.claim(nos)
    held = Recorded(nos[2], 1, State.HELD, NOW + timedelta(seconds=5), None, "no connection")
    assert ledger.record(*(Recorded(no, 1, State.ACCEPTED, None, "1", None) for no in nos[:2]), held) == 3
    assert ledger.states() == {"accepted": 2, "held": 1}


def test_a_held_submission_comes_back_with_its_next_attempt(ledger: Ledger) -> None:
    (no,) = ledger.accept(message("m"))["m"]
    ledger.claim([no])
    later = NOW + timedelta(seconds=5)
    ledger.record(Recorded(no, 1, State.HELD, later, None, "no connection"))
    assert ledger.release(later) == [no]
    assert [one.attempt for one in ledger.claim([no], later)] == [2]


def test_a_queued_submission_whose_task_is_gone_is_released_again_once(ledger: Ledger) -> None:
    (no,) = ledger.accept(message("m"))["m"]
    assert ledger.release(NOW + STRAY_AFTER - timedelta(seconds=1)) == []
    assert ledger.release(NOW + STRAY_AFTER) == [no]
    assert ledger.release(NOW + STRAY_AFTER) == []


def test_what_waited_too_long_expires_when_it_is_due(ledger: Ledger) -> None:
    ledger.accept(message("m", valid_for=10))
    assert ledger.release(NOW + STRAY_AFTER) == []
    assert ledger.states() == {"expired": 1}


def test_a_release_takes_no_more_than_it_is_told_and_only_of_its_lane(ledger: Ledger) -> None:
    ledger.accept(message("m", *map(mobile, range(5)), at=NOW + timedelta(1)), max_mobiles=1)
    ledger.accept(message("o", lane="otp", at=NOW + timedelta(1)))
    assert len(ledger.release(NOW + timedelta(1), most=3)) == 3
    assert len(ledger.release(NOW + timedelta(1))) == 2
    assert len(ledger.release(NOW + timedelta(1), lane="otp")) == 1


def test_a_lease_that_runs_out_leaves_the_submission_unknown_and_never_queued(ledger: Ledger) -> None:
    (no,) = ledger.accept(message("m"))["m"]
    ledger.claim([no])
    assert ledger.expire_leases(NOW + LEASE - timedelta(seconds=1)) == []
    assert ledger.expire_leases(NOW + LEASE) == [no]
    assert ledger.release(NOW + timedelta(days=1)) == []
    assert ledger.claim([no], NOW + LEASE) == []
    assert ledger.states() == {"unknown": 1}


def test_beats_that_release_side_by_side_share_the_rows(ledger: Ledger) -> None:
    later = NOW + timedelta(hours=1)
    ledger.accept(message("m", *map(mobile, range(200)), at=later), max_mobiles=1)
    with ThreadPoolExecutor(4) as threads:
        released = [no for nos in threads.map(lambda _: ledger.release(later, most=20), range(20)) for no in nos]
    assert len(released) == len(set(released)) == 200


def test_the_ledger_refuses_a_state_that_is_none(ledger: Ledger) -> None:
    ledger.accept(message("m"))
    with pytest.raises(IntegrityError), ledger.engine.begin() as connection:
        connection.execute(update(submissions).values(state="sent"))


def test_msg_ids_of_an_account_are_never_given_out_twice(ledger: Ledger) -> None:
    account_id = ledger.account_ids["default"]
    with ThreadPoolExecutor(8) as threads:
        taken = [i for ids in threads.map(lambda _: ledger.msg_ids.take(account_id, 333), range(30)) for i in ids]
    assert len(taken) == len(set(taken)) == 30 * 333
    other = ledger_accounts.MsgIds(ledger.engine).take(account_id, 10)
    assert not set(other) & set(taken)


def test_after_the_last_msg_id_they_begin_again_where_none_is_in_the_ledger(ledger: Ledger) -> None:
    ledger.accept(message("m"))
    account_id = ledger.account_ids["default"]
    with ledger.engine.begin() as connection:
        connection.execute(update(submissions).values(msg_id=1))
        connection.execute(update(accounts).values(next_msg_id=MSG_ID_END - BLOCK))
        last = reserve_msg_ids(connection, account_id)
        first = reserve_msg_ids(connection, account_id)
    assert last[-1] == MSG_ID_END - 1
    assert first[0] == BLOCK + 1

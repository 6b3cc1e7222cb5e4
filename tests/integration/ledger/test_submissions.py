"""Messages in the ledger: accepted once, claimed by one, recorded, released, expired."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta

import pytest
from ledger_driver import LEASE, NOW, Ledger, message, mobile
from sqlalchemy import update
from sqlalchemy.exc import IntegrityError

from worker.domain.message import MSG_ID_END
from worker.domain.status import State
from worker.domain.submission import Recorded
from worker.ledger import tables as t
from worker.ledger.sending import accounts as ledger_accounts
from worker.ledger.sending.accounts import BLOCK, reserve_msg_ids

ACCEPTED = Recorded(0, 1, State.ACCEPTED, None, "1", "成功")


def test_a_message_is_dealt_out_to_submissions_of_at_most_the_mobiles_of_a_call(ledger: Ledger) -> None:
    queued = ledger.accept(message("m", *map(mobile, range(120))))
    claimed = ledger.claim(queued["m"])
    assert [len(call.mobiles) for call in claimed] == [50, 50, 20]
    assert sorted(to for call in claimed for to in call.mobiles) == sorted(map(mobile, range(120)))
    assert len({call.msg_id for call in claimed}) == 3


def test_a_message_that_comes_twice_is_one_message(ledger: Ledger) -> None:
    first = ledger.accept(message("m"), message("m"), message("n", content="别的"))
    assert {key: len(submission_ids) for key, submission_ids in first.items()} == {"m": 1, "n": 1}
    assert ledger.accept(message("m", content="别的")) == {}
    assert len(ledger.rows(t.messages)) == len(ledger.rows(t.submissions)) == len(ledger.rows(t.recipients)) == 2


def test_messages_with_the_same_text_that_come_together_share_calls_and_keep_their_own_status(ledger: Ledger) -> None:
    new = [message(f"m{n}", mobile(n)) for n in range(60)]
    calls = {submission_id for submission_ids in ledger.accept(*new).values() for submission_id in submission_ids}
    claimed = ledger.claim(sorted(calls))
    assert sorted(len(call.mobiles) for call in claimed) == [10, 50]
    rows = ledger.rows(t.recipients)
    assert len({row["message_id"] for row in rows}) == 60


@pytest.mark.parametrize(
    "other",
    [
        {"content": "别的"},
        {"lane": "marketing"},
        {"at": NOW + timedelta(hours=1)},
        {"valid_for": 60},
        {"caller": "shop"},
    ],
    ids=str,
)
def test_messages_that_differ_in_more_than_their_recipients_share_no_call(
    ledger: Ledger, other: dict[str, object]
) -> None:
    ledger.accept(message("m", mobile(1)), message("n", mobile(2), **other))
    assert len(ledger.rows(t.submissions)) == 2


def test_an_otp_shares_its_call_with_nobody(ledger: Ledger) -> None:
    ledger.accept(message("m", mobile(1), lane="otp"), message("n", mobile(2), lane="otp"))
    assert len(ledger.rows(t.submissions)) == 2


def test_who_is_sent_the_same_text_twice_gets_it_in_two_calls(ledger: Ledger) -> None:
    everybody = [mobile(n) for n in range(30)]
    ledger.accept(message("m", *everybody), message("n", *everybody), message("o", mobile(30)))
    claimed = ledger.claim([row["id"] for row in ledger.rows(t.submissions)])
    assert sorted(len(call.mobiles) for call in claimed) == [30, 31]
    assert all(len(set(call.mobiles)) == len(call.mobiles) for call in claimed)


def test_a_call_that_is_shared_is_made_while_all_of_its_messages_are_valid(ledger: Ledger) -> None:
    later = replace(message("n", mobile(2)), created_at=NOW + timedelta(seconds=3))
    ledger.accept(message("m", mobile(1)), later)
    assert [row["expires_at"] for row in ledger.rows(t.submissions)] == [NOW + timedelta(hours=24)]


def test_a_fresh_message_shares_no_call_with_one_that_is_about_to_expire(ledger: Ledger) -> None:
    old = replace(message("m", mobile(1)), created_at=NOW - timedelta(hours=23, minutes=59))
    near = replace(message("n", mobile(2)), created_at=NOW - timedelta(hours=23, minutes=50))
    short = [
        replace(message(f"s{n}", mobile(3 + n), valid_for=1e-6 if n > 2 else 10), created_at=NOW + timedelta(seconds=n))
        for n in range(4)
    ]
    fresh = message("o", mobile(8)), message("p", mobile(9), valid_for=86400)
    ledger.accept(old, near, *short, *fresh)
    expiries = {row["expires_at"] - NOW: row["mobiles"] for row in ledger.rows(t.submissions)}
    assert {after: expiries[after] for after in sorted(expiries) if after > timedelta(seconds=12)} == {
        timedelta(minutes=1): 1,
        timedelta(minutes=10): 1,
        timedelta(hours=24): 2,
    }
    assert len(ledger.rows(t.submissions)) == 7
    ledger.expire(NOW + timedelta(minutes=2))
    assert {key: status for key, status in ledger.statuses().items() if key in (mobile(8), mobile(9))} == {
        mobile(8): "queued",
        mobile(9): "queued",
    }


@pytest.mark.parametrize(
    ("fields", "expires_after"),
    [
        ({}, timedelta(hours=24)),
        ({"lane": "otp"}, timedelta(minutes=5)),
        ({"valid_for": 90}, timedelta(seconds=90)),
        ({"valid_for": 90, "at": NOW + timedelta(hours=1)}, timedelta(hours=1, seconds=90)),
        ({"lane": "marketing", "at": NOW + timedelta(hours=9)}, timedelta(hours=33)),  # of which eleven are the night
    ],
    ids=str,
)
def test_validity_counts_from_the_time_for_which_a_message_is_meant(
    ledger: Ledger, fields: dict[str, object], expires_after: timedelta
) -> None:
    ledger.accept(message("m", **fields))
    assert [row["expires_at"] for row in ledger.rows(t.submissions)] == [NOW + expires_after]


def test_a_message_that_comes_outside_the_hours_of_its_lane_is_held_until_they_begin(ledger: Ledger) -> None:
    at_night = NOW + timedelta(hours=9, minutes=30)
    ledger.accept(message("m", lane="marketing", at=at_night), message("o", at=at_night), now=at_night)
    due = {row["lane"]: (row["state"], row["due_at"]) for row in ledger.rows(t.submissions)}
    assert due == {"marketing": ("held", NOW + timedelta(hours=20)), "notice": ("queued", at_night)}


def test_a_message_for_later_is_held_until_then(ledger: Ledger) -> None:
    at = NOW + timedelta(hours=2)
    ledger.accept(message("m", at=at))
    assert ledger.states() == {"held": 1}
    assert ledger.pull(at - timedelta(seconds=1)).claimed == []
    assert len(ledger.pull(at).claimed) == 1


def test_a_message_for_a_moment_ago_is_queued(ledger: Ledger) -> None:
    ledger.accept(message("m", at=NOW - timedelta(seconds=30)))
    assert ledger.states() == {"queued": 1}
    assert len(ledger.pull().claimed) == 1


def test_a_submission_is_claimed_once(ledger: Ledger) -> None:
    (submission_id,) = ledger.accept(message("m"))["m"]
    assert len(ledger.claim([submission_id])) == 1
    assert ledger.claim([submission_id]) == []


def test_of_many_that_claim_one_submission_at_once_one_wins(ledger: Ledger) -> None:
    (submission_id,) = ledger.accept(message("m"))["m"]
    with ThreadPoolExecutor(8) as threads:
        claims = list(threads.map(lambda _: ledger.claim([submission_id]), range(50)))
    assert sum(len(claimed) for claimed in claims) == 1


def test_a_claim_carries_what_the_call_needs(ledger: Ledger) -> None:
    (submission_id,) = ledger.accept(message("m", mobile(1), mobile(2), content="您的验证码是 123456"))["m"]
    (claimed,) = ledger.claim([submission_id])
    assert claimed.content == "您的验证码是 123456"
    assert set(claimed.mobiles) == {mobile(1), mobile(2)}
    assert (claimed.attempt, claimed.expires_at) == (1, NOW + timedelta(hours=24))
    assert 0 < claimed.msg_id < 2**31


def test_what_is_past_its_validity_expires_instead_of_being_claimed(ledger: Ledger) -> None:
    (submission_id,) = ledger.accept(message("m", lane="otp"))["m"]
    assert ledger.claim([submission_id], NOW + timedelta(minutes=5)) == []
    assert ledger.states() == {"expired": 1}


def test_an_outcome_is_recorded_for_the_attempt_that_it_belongs_to(ledger: Ledger) -> None:
    (submission_id,) = ledger.accept(message("m"))["m"]
    ledger.claim([submission_id])
    assert ledger.record(Recorded(submission_id, 2, State.REJECTED, None, "-1", None)) == 0
    assert ledger.record(Recorded(submission_id, 1, State.ACCEPTED, None, "1", "成功")) == 1
    assert ledger.record(Recorded(submission_id, 1, State.REJECTED, None, "-1", None)) == 0
    (row,) = ledger.rows(t.submissions)
    assert (row["state"], row["result"], row["tips"], row["due_at"]) == ("accepted", "1", "成功", None)


def test_many_outcomes_are_recorded_together(ledger: Ledger) -> None:
    submission_ids = ledger.accept(message("m", *map(mobile, range(6))), max_mobiles=2)["m"]
    ledger.claim(submission_ids)
    held = Recorded(submission_ids[2], 1, State.HELD, NOW + timedelta(seconds=5), None, "no connection")
    assert (
        ledger.record(
            *(Recorded(submission_id, 1, State.ACCEPTED, None, "1", None) for submission_id in submission_ids[:2]), held
        )
        == 3
    )
    assert ledger.states() == {"accepted": 2, "held": 1}


def test_a_held_submission_comes_back_with_its_next_attempt(ledger: Ledger) -> None:
    (submission_id,) = ledger.accept(message("m"))["m"]
    ledger.claim([submission_id])
    later = NOW + timedelta(seconds=5)
    ledger.record(Recorded(submission_id, 1, State.HELD, later, None, "no connection"))
    assert ledger.pull(later - timedelta(seconds=1)).claimed == []
    assert [call.attempt for call in ledger.pull(later).claimed] == [2]


def test_the_attempts_of_a_message_never_run_out(ledger: Ledger) -> None:
    (submission_id,) = ledger.accept(message("m"))["m"]
    with ledger.engine.begin() as connection:
        connection.execute(update(t.submissions).values(attempt=2**15 - 2))
    attempts = []
    for _ in range(3):
        (claimed,) = ledger.claim([submission_id])
        attempts.append(claimed.attempt)
        before = Recorded(submission_id, claimed.attempt - 1, State.REJECTED, None, "-1", "缺少参数")
        assert ledger.record(before) == 0
        assert ledger.record(Recorded(submission_id, claimed.attempt, State.HELD, NOW, None, None)) == 1
    assert attempts == [2**15 - 1, 2**14 - 1, 2**14]
    assert len(set(attempts)) == 3


def test_what_waited_too_long_expires(ledger: Ledger) -> None:
    ledger.accept(message("m", valid_for=10), message("n", valid_for=10, at=NOW + timedelta(seconds=5)))
    assert ledger.expire(NOW + timedelta(seconds=9)) == 0
    assert ledger.expire(NOW + timedelta(seconds=10)) == 1
    assert ledger.pull(NOW + timedelta(seconds=15)).claimed == []
    assert ledger.states() == {"expired": 2}


def test_a_lease_that_runs_out_leaves_the_submission_unknown_and_never_queued(ledger: Ledger) -> None:
    (submission_id,) = ledger.accept(message("m"))["m"]
    ledger.claim([submission_id])
    assert ledger.expire_leases(NOW + LEASE - timedelta(seconds=1)) == []
    assert ledger.expire_leases(NOW + LEASE) == [submission_id]
    assert ledger.pull(NOW + timedelta(days=1)).claimed == []
    assert ledger.claim([submission_id], NOW + LEASE) == []
    assert ledger.states() == {"unknown": 1}


def test_the_ledger_refuses_a_state_that_is_none(ledger: Ledger) -> None:
    ledger.accept(message("m"))
    with pytest.raises(IntegrityError), ledger.engine.begin() as connection:
        connection.execute(update(t.submissions).values(state="sent"))


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
        connection.execute(update(t.submissions).values(msg_id=1))
        connection.execute(update(t.accounts).values(next_msg_id=MSG_ID_END - BLOCK))
        last = reserve_msg_ids(connection, account_id)
        first = reserve_msg_ids(connection, account_id)
    assert last[-1] == MSG_ID_END - 1
    assert first[0] == BLOCK + 1

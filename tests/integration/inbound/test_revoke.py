"""A forged push is revoked: what it said counts no more, and what other pushes said about the same recipients does."""

from datetime import timedelta

import pytest
from ledger_driver import ACCOUNT_KEYS, NOW, Ledger, message, mobile, reply_push, status_push
from sms_command import sms, sms_json
from sqlalchemy import update

from worker.domain.optout import OPTOUT_WORDS
from worker.inbound.process_push import process_push
from worker.ledger import tables as t
from worker.ledger.inbound import pushes
from worker.ledger.sending import optouts

MINUTE = timedelta(minutes=1)


@pytest.fixture(autouse=True)
def _settings(monkeypatch: pytest.MonkeyPatch, ledger_url: str) -> None:
    monkeypatch.setenv("SMS_LEDGER_URL", ledger_url)


def process(ledger: Ledger, push_id: int) -> None:
    process_push(ledger.engine, push_id, {ACCOUNT_KEYS: ledger.account_ids["default"]}, optout_words=OPTOUT_WORDS)


def submitted(ledger: Ledger, *mobiles: str) -> int:
    """Adds a message that was called. Returns its msgId."""
    [submission_ids] = ledger.accept(message("m", *mobiles)).values()
    [claimed] = ledger.claim(submission_ids)
    return claimed.msg_id


def test_what_a_revoked_push_said_is_gone_and_what_a_later_one_said_of_the_same_counts(ledger: Ledger) -> None:
    msg_id = submitted(ledger, mobile(1), mobile(2))
    forged = ledger.push(status_push((mobile(1), msg_id, 1), (mobile(2), msg_id, 1)))
    other = ledger.push(status_push((mobile(9), msg_id, 1)), NOW + MINUTE)
    true = ledger.push(status_push((mobile(2), msg_id, 1)), NOW + 2 * MINUTE)
    assert ledger.statuses() == {mobile(1): "delivered", mobile(2): "delivered"}
    done = sms("pushes", "revoke", str(forged))
    assert done.stdout.splitlines() == [
        f"push {forged} is revoked: 2 reports and 0 replies taken back",
        "0 mobiles removed from the opt-out list",
        "1 push will be read again at the next tick of beat: they said the same",
    ]
    with ledger.engine.begin() as connection:
        assert pushes.overdue(connection, now=NOW + timedelta(days=99999)) == [true]
    process(ledger, true)
    assert {(row["mobile"], row["push_id"]) for row in ledger.rows(t.reports)} == {
        (mobile(2), true),
        (mobile(9), other),
    }
    assert ledger.statuses()[mobile(1)] != "delivered"
    assert ledger.statuses()[mobile(2)] == "delivered"


def test_a_revocation_that_was_broken_off_has_what_others_said_read_again_when_it_is_done_anew(ledger: Ledger) -> None:
    msg_id = submitted(ledger, mobile(1))
    # This push has a lower id, and came later.
    with ledger.engine.begin() as connection:
        body = status_push((mobile(1), msg_id, 1)).encode()
        true = pushes.add(connection, body, source="s", received_at=NOW + MINUTE)
    forged = ledger.push(status_push((mobile(1), msg_id, 1)))
    process(ledger, true)
    with ledger.engine.begin() as connection:
        assert pushes.revoke(connection, forged, by="x", now=NOW)[1] == 0
    assert sms_json("pushes", "revoke", str(forged))[0]["read_again"] == 1
    process(ledger, true)
    assert [row["push_id"] for row in ledger.rows(t.reports)] == [true]


def test_a_revoked_push_takes_no_effect_again(ledger: Ledger) -> None:
    ledger.sent_to(mobile(1))
    forged = ledger.push(reply_push((mobile(1), "7", "TD")))
    assert sms_json("pushes", "revoke", str(forged)) == [
        {"id": forged, "reports": 0, "replies": 1, "optouts": 1, "optouts_kept": 0, "read_again": 0}
    ]  # fmt: skip
    replayed = sms("pushes", "replay", str(forged))
    assert (replayed.exit_code, f"not replayed: {forged}. A push must exist" in replayed.stderr) == (1, True)
    process(ledger, forged)  # a task that was on its way
    assert (ledger.rows(t.replies), ledger.rows(t.optouts)) == ([], [])
    assert sms_json("pushes", "revoke", str(forged)) == [
        {"id": forged, "reports": 0, "replies": 0, "optouts": 0, "optouts_kept": 0, "read_again": 0}
    ]
    missing = sms("pushes", "revoke", "99")
    assert (missing.exit_code, "there is no push 99" in missing.stderr) == (1, True)
    assert "revoked" in sms("pushes").stdout
    assert "by operator:" in sms("pushes", "show", str(forged)).stdout


def test_a_push_that_waits_to_be_read_can_be_revoked_and_is_read_no_more(ledger: Ledger) -> None:
    ledger.sent_to(mobile(1))
    with ledger.engine.begin() as connection:
        push_id = pushes.add(connection, reply_push((mobile(1), "7", "TD")).encode(), source="s", received_at=NOW)
    assert sms("pushes", "revoke", str(push_id)).exit_code == 0
    process(ledger, push_id)
    [row] = ledger.rows(t.pushes)
    assert (row["state"], row["due_at"], row["items"]) == ("processed", None, None)
    assert ledger.rows(t.optouts) == []


def test_what_a_push_said_while_it_is_revoked_is_all_taken_back(ledger: Ledger) -> None:
    """The thread that processes the push holds its row, and the other thread waits."""
    ledger.sent_to(mobile(1))
    push_id = ledger.push(reply_push((mobile(1), "7", "TD")))
    with ledger.engine.begin() as connection:
        assert pushes.finish(connection, push_id, items=1, reason=None, quarantined=False)
        assert pushes.revoke(connection, push_id, by="x", now=NOW) == (set(), 1)
        assert optouts.undo(connection, [push_id], OPTOUT_WORDS, now=NOW).back == 1
        assert not pushes.finish(connection, push_id, items=1, reason=None, quarantined=False)


def test_a_push_that_is_forged_again_and_again_is_revoked_in_one_go(ledger: Ledger) -> None:
    ledger.sent_to(mobile(1))
    body = reply_push((mobile(1), "7", "TD"))
    push_ids = [ledger.push(body, NOW + n * MINUTE) for n in range(3)]
    assert [row["mobile"] for row in ledger.rows(t.optouts)] == [mobile(1)]
    done = sms("pushes", "revoke", *map(str, push_ids))
    assert done.exit_code == 0, done.output
    assert (ledger.rows(t.optouts), ledger.rows(t.replies)) == ([], [])


def test_what_others_said_counts_also_where_the_body_of_the_forged_push_is_wiped(ledger: Ledger) -> None:
    msg_id = submitted(ledger, mobile(1))
    forged = ledger.push(status_push((mobile(1), msg_id, 1)))
    true = ledger.push(status_push((mobile(1), msg_id, 1)), NOW + MINUTE)
    with ledger.engine.begin() as connection:
        connection.execute(update(t.pushes).where(t.pushes.c.id == forged).values(body=b"", size=0))
    assert sms_json("pushes", "revoke", str(forged))[0]["read_again"] == 1
    process(ledger, true)
    assert ledger.statuses() == {mobile(1): "delivered"}

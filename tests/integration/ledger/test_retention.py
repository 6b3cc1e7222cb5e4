"""The ledger wipes texts of codes, old bodies of pushes and old refused messages."""

from datetime import timedelta

import pytest
from ledger_driver import NOW, Ledger, message, mobile, reply_push
from sms_command import sms, sms_json
from sqlalchemy import update

from worker.domain.status import State
from worker.domain.submission import Recorded
from worker.ledger import retention
from worker.ledger import tables as t
from worker.ledger.inbound import pushes
from worker.ledger.sending import messages
from worker.maintenance.retention import forget as forget_old

DAY = timedelta(days=1)
KEEP = 90 * DAY
LATER = NOW + timedelta(hours=1)


def forget(ledger: Ledger, *, codes: bool = True) -> None:
    forget_old(ledger.engine, codes=codes, keep=KEEP, now=NOW)


def texts(ledger: Ledger) -> dict[str, str]:
    return {str(row["public_id"]): str(row["content"]) for row in ledger.rows(t.messages)}


@pytest.mark.parametrize("state", State)
def test_the_text_of_a_code_is_wiped_once_nothing_of_it_can_be_sent_any_more(ledger: Ledger, state: State) -> None:
    ledger.accept(message("code", mobile(1), lane="otp", content="123456"), message("notice", mobile(1)))
    due = NOW if state in (State.HELD, State.QUEUED, State.SUBMITTING) else None
    with ledger.engine.begin() as connection:
        connection.execute(update(t.submissions).values(state=state, due_at=due))
    forget(ledger)
    may_be_sent = state in (State.HELD, State.QUEUED, State.SUBMITTING, State.UNKNOWN)
    assert texts(ledger) == {"code": "123456" if may_be_sent else "", "notice": "您好"}


def test_a_code_with_one_call_that_may_be_made_keeps_its_text(ledger: Ledger) -> None:
    submission_ids = ledger.accept(message("code", mobile(1), mobile(2), lane="otp", content="123456"), max_mobiles=1)
    first, _ = submission_ids["code"]
    ledger.claim([first])
    assert ledger.record(Recorded(first, 1, State.ACCEPTED, None, "1", None)) == 1
    forget(ledger)
    assert texts(ledger) == {"code": "123456"}


def test_where_texts_of_codes_are_kept_none_is_wiped(ledger: Ledger) -> None:
    ledger.accept(message("code", mobile(1), lane="otp"))
    with ledger.engine.begin() as connection:
        connection.execute(update(t.submissions).values(state=State.ACCEPTED, due_at=None))
    forget(ledger, codes=False)
    assert texts(ledger) == {"code": "您好"}
    forget(ledger)
    assert texts(ledger) == {"code": ""}


def test_a_code_that_is_sent_again_under_its_id_is_the_same_message_though_its_text_is_wiped(ledger: Ledger) -> None:
    code = message("code", mobile(1), lane="otp", content="123456")
    ledger.accept(code)
    with ledger.engine.begin() as connection:
        connection.execute(update(t.submissions).values(state=State.ACCEPTED, due_at=None))
    forget(ledger)
    with ledger.engine.connect() as connection:
        assert messages.others(connection, [code]) == []
        others = (
            message("code", mobile(2), lane="otp", content="123456"),
            message("code", mobile(1), lane="otp", content="654321"),
        )
        assert [len(messages.others(connection, [other])) for other in others] == [1, 1]
    assert ledger.accept(code) == {}


def test_bodies_of_pushes_and_refused_messages_are_kept_for_their_days(ledger: Ledger) -> None:
    body = reply_push((mobile(1), "1", "好"))
    old, quarantined, new = (
        ledger.push(body, NOW - KEEP - DAY),
        ledger.push("no push", NOW - KEEP - DAY),
        ledger.push(body, NOW - KEEP + DAY),
    )
    with ledger.engine.begin() as connection:
        unread = pushes.add(connection, b"x", source="s", received_at=NOW - KEEP - DAY)
        for name, at in (("old", NOW - KEEP - DAY), ("new", NOW - KEEP + DAY)):
            messages.refuse(connection, name, ["bad"], "payload", now=at)
    forget(ledger)
    assert {row["id"]: row["size"] for row in ledger.rows(t.pushes)} == {
        old: 0, quarantined: 0, new: len(body.encode()), unread: 1,
    }  # fmt: skip
    assert {row["id"] for row in ledger.rows(t.pushes) if row["body"] == b""} == {old, quarantined}
    assert [row["id"] for row in ledger.rows(t.refused)] == ["new"]
    with ledger.engine.begin() as connection:
        assert pushes.replay(connection, push_ids=[old, quarantined, new], now=NOW) == [new]


def test_of_quarantined_bodies_the_newest_are_kept_that_have_no_more_bytes_than_they_may(ledger: Ledger) -> None:
    push_ids = [ledger.push("x" * 100) for _ in range(5)]
    good = ledger.push(reply_push((mobile(1), "1", "好")))
    with ledger.engine.begin() as connection:
        connection.execute(update(t.pushes).where(t.pushes.c.id == push_ids[3]).values(size=None))
        assert retention.wipe_quarantined(connection, most_bytes=250, before=NOW) == 0
        assert retention.wipe_quarantined(connection, most_bytes=250, before=LATER) == 3
        assert retention.wipe_quarantined(connection, most_bytes=250, before=LATER) == 0
    kept = {row["id"] for row in ledger.rows(t.pushes) if row["body"]}
    assert kept == {*push_ids[3:], good}


@pytest.mark.usefixtures("settings")
def test_a_text_that_was_wiped_is_shown_as_such(ledger: Ledger) -> None:
    ledger.accept(message("code", mobile(1), lane="otp", content="123456"))
    with ledger.engine.begin() as connection:
        connection.execute(update(t.submissions).values(state=State.ACCEPTED, due_at=None))
    forget(ledger)
    assert "content    (wiped: the text of a code)" in sms("show", "code").stdout
    assert "(wiped: the text of a code)" in " ".join(sms("messages").stdout.split())
    assert sms_json("show", "code")["content"] is None
    assert [row["content"] for row in sms_json("messages")] == [None]


@pytest.fixture
def settings(monkeypatch: pytest.MonkeyPatch, ledger_url: str) -> None:
    monkeypatch.setenv("SMS_LEDGER_URL", ledger_url)

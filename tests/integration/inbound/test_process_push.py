"""What pushes do to the ledger: each takes effect once, in any order, whatever is odd about it."""

import logging
import re
from dataclasses import replace
from datetime import timedelta
from itertools import permutations
from pathlib import Path

import pytest
from ledger_driver import ACCOUNT_KEYS, NOW, Ledger, message, mobile, reply_push, status_push
from sqlalchemy import Engine, select, text, update

from worker.domain.caps import Cap
from worker.domain.lane import LANES
from worker.domain.optout import OPTOUT_WORDS
from worker.domain.status import Report, State, Suppression, recipient_status
from worker.domain.submission import Recorded
from worker.inbound.process_push import process_push
from worker.ledger import tables as t
from worker.ledger.engine import LOCK_WAIT, open_engine
from worker.ledger.inbound import pushes
from worker.ledger.sending import accounts
from worker.runtime import log_filter


def accepted(ledger: Ledger, *to: str, message_id: str = "m") -> int:
    """Adds a message that the gateway took. Returns its msgId."""
    (submission_id,) = ledger.accept(message(message_id, *to))[message_id]
    (claimed,) = ledger.claim([submission_id])
    ledger.record(Recorded(submission_id, 1, State.ACCEPTED, None, "1", "成功"))
    return claimed.msg_id


def test_a_report_settles_its_recipient_and_no_other(ledger: Ledger) -> None:
    msg_id = accepted(ledger, mobile(1), mobile(2), mobile(3))
    ledger.push(status_push((mobile(1), msg_id, 1), (mobile(2), msg_id, -1)))
    assert ledger.statuses() == {mobile(1): "delivered", mobile(2): "undelivered", mobile(3): "accepted"}


def test_a_report_that_comes_before_its_submission_counts_when_that_appears(ledger: Ledger) -> None:
    ledger.push(status_push((mobile(1), 100, 1)))
    assert accepted(ledger, mobile(1)) == 100
    assert ledger.statuses() == {mobile(1): "delivered"}


def test_the_same_report_however_often_is_one_report(ledger: Ledger) -> None:
    msg_id = accepted(ledger, mobile(1))
    for _ in range(3):
        ledger.push(status_push((mobile(1), msg_id, 1), (mobile(1), msg_id, 1)))
    assert len(ledger.rows(t.reports)) == 1


@pytest.mark.parametrize("order", list(permutations([(1, 1), (1, -1), (2, -1)])))
def test_the_order_of_reports_does_not_matter(ledger: Ledger, order: tuple[tuple[int, int], ...]) -> None:
    msg_id = accepted(ledger, mobile(1), mobile(2))
    for number, status in order:
        ledger.push(status_push((mobile(number), msg_id, status)))
    assert ledger.statuses() == {mobile(1): "delivered", mobile(2): "undelivered"}


def test_a_report_keeps_the_time_of_the_earliest_push_that_brought_it(ledger: Ledger) -> None:
    msg_id = accepted(ledger, mobile(1))
    late = ledger.push(status_push((mobile(1), msg_id, 1)), NOW + timedelta(minutes=2))
    early = ledger.push(status_push((mobile(1), msg_id, 1)), NOW + timedelta(minutes=1))
    (row,) = ledger.rows(t.reports)
    assert (row["received_at"], row["push_id"]) == (NOW + timedelta(minutes=1), early) != (NOW, late)


def test_the_view_and_the_domain_say_the_same_of_a_recipient(ledger: Ledger) -> None:
    due = {"held", "queued", "submitting"}
    cases = [(state, statuses) for state in State for statuses in ([], [1], [-1], [1, -1])]
    for number, (state, statuses) in enumerate(cases):
        msg_id = accepted(ledger, mobile(number), message_id=f"m{number}")
        for status in statuses:
            ledger.push(status_push((mobile(number), msg_id, status)))
        with ledger.engine.begin() as connection:
            connection.execute(
                update(t.submissions)
                .where(t.submissions.c.msg_id == msg_id)
                .values(state=state, due_at=NOW if state in due else None)
            )
    with_caps = LANES | {"otp": replace(LANES["otp"], caps=(Cap(1, 60),))}
    left_out = {mobile(999): Suppression.CAP}
    ledger.accept(message("left-out", *left_out, lane="otp"), lanes=with_caps, room=lambda all_: dict.fromkeys(all_, 0))
    word = {1: Report.DELIVERED, -1: Report.UNDELIVERED}
    assert ledger.statuses() == {
        mobile(number): recipient_status(state, [word[status] for status in statuses])
        for number, (state, statuses) in enumerate(cases)
    } | {to: recipient_status(why, []) for to, why in left_out.items()}
    (suppressed,) = (row for row in ledger.rows(t.recipient_status) if row["status"] == "suppressed")
    assert (suppressed["suppressed"], suppressed["updated_at"]) == ("cap", NOW)


def test_a_push_that_is_processed_twice_takes_effect_once(ledger: Ledger) -> None:
    msg_id = accepted(ledger, mobile(1))
    account_ids = {("1", "sword123"): ledger.account_ids["default"]}
    for body in (status_push((mobile(1), msg_id, 1)), reply_push((mobile(1), str(msg_id), "1"))):
        process_push(ledger.engine, ledger.push(body), account_ids, optout_words=OPTOUT_WORDS)
    assert (len(ledger.rows(t.reports)), len(ledger.rows(t.first_replies))) == (1, 1)


def test_a_push_for_an_account_that_only_the_ledger_knows_takes_effect(ledger: Ledger) -> None:
    with ledger.engine.begin() as connection:
        ids = accounts.register(connection, ["shop"], first_msg_id=100, now=NOW)
        accounts.note_credentials(connection, {"shop": (2, "shop")})
    body = status_push((mobile(1), 5, 1)).replace("<eprId>1<", "<eprId>2<").replace("sword123", "shop")
    ledger.push(body)
    assert [row["account_id"] for row in ledger.rows(t.reports)] == [ids["shop"]]
    assert [row["state"] for row in ledger.rows(t.pushes)] == ["processed"]


QUARANTINED = {
    "no XML": ("hello", "not XML"),
    "nothing but a declaration": ('<?xml version="1.0"?>', "not XML"),
    "XML that breaks off": (status_push((mobile(1), 1, 1))[:-60], "not XML"),
    "a DTD": ("<!DOCTYPE returnForm>" + status_push((mobile(1), 1, 1)), "DTD"),
    "an entity": ('<!DOCTYPE r [<!ENTITY e "1">]><returnForm><type>&e;</type></returnForm>', "DTD"),
    "an external entity": ('<!DOCTYPE r [<!ENTITY e SYSTEM "file:///etc/passwd">]><r>&e;</r>', "DTD"),
    "a foreign root": ("<html><body/></html>", "the root is <html>"),
    "type 3": (status_push((mobile(1), 1, 1), kind=3), "type is '3'"),
    "no type": ("<returnForm><list/></returnForm>", "type is ''"),
    "a missing field": (
        status_push((mobile(1), 1, 1)).replace("<userId>sword123</userId>", ""),
        "item 1: userId is missing",
    ),
    "a status that is none": (status_push((mobile(1), 1, 5)), "item 1: status is '5'"),
    "a msgId that is no number": (
        status_push((mobile(1), 1, 1)).replace("<msgId>1<", "<msgId>a1<"),
        "item 1: msgId 'a1' is not a number",
    ),
    "replies among reports": (
        reply_push((mobile(1), "1", "x")).replace("<type>2", "<type>1"),
        "not a <pushStatusForm>",
    ),
    "another account": (
        status_push((mobile(1), 1, 1)).replace("<eprId>1<", "<eprId>2<"),
        "eprId 2, userId sword123 is not an account of ours",
    ),
    "a field of a mile": (status_push((mobile(1), 1, 1)).replace("sword123", "x" * 99), "userId is longer than 64"),
}


@pytest.mark.parametrize(("body", "reason"), QUARANTINED.values(), ids=QUARANTINED)
def test_a_push_that_cannot_be_used_is_kept_with_its_reason(ledger: Ledger, body: str, reason: str) -> None:
    push_id = ledger.push(body)
    (row,) = ledger.rows(t.pushes)
    assert (row["id"], row["state"], row["body"]) == (push_id, "quarantined", body.encode())
    assert reason in str(row["reason"])
    assert ledger.rows(t.reports) == ledger.rows(t.first_replies) == []


def test_a_bad_item_does_not_spoil_its_neighbours(ledger: Ledger) -> None:
    msg_id = accepted(ledger, mobile(1), mobile(2))
    ledger.push(status_push((mobile(1), msg_id, 1), (mobile(9), msg_id, 7), (mobile(2), msg_id, 1)))
    assert ledger.statuses() == {mobile(1): "delivered", mobile(2): "delivered"}
    (row,) = ledger.rows(t.pushes)
    assert (row["state"], row["items"]) == ("quarantined", 2)
    assert re.search("item 2: status is '7'", str(row["reason"]))


@pytest.mark.parametrize("broken", ["好&#xD83D;&#xDE00;", "A&B", "a&#0;b", "1<2"])
def test_an_opt_out_takes_effect_beside_a_reply_that_is_not_xml(ledger: Ledger, broken: str) -> None:
    ledger.sent_to(mobile(1), mobile(3))
    ledger.push(reply_push((mobile(1), "7", "TD"), (mobile(2), "7", broken), (mobile(3), "7", "退订")))
    assert {row["mobile"] for row in ledger.rows(t.optouts)} == {mobile(1), mobile(3)}
    (row,) = ledger.rows(t.pushes)
    is_understood = broken in ("好&#xD83D;&#xDE00;", "A&B")
    assert (row["state"], row["items"]) == ("processed" if is_understood else "quarantined", 2 + (broken != "1<2"))
    assert ("item 2: " in str(row["reason"])) is not is_understood


@pytest.mark.parametrize("prefix", ["86", "+86", "0086", "+86 ", "86-"])
def test_a_mobile_with_the_countrys_prefix_is_matched(ledger: Ledger, prefix: str) -> None:
    msg_id = accepted(ledger, mobile(1))
    ledger.push(status_push((prefix + mobile(1), msg_id, 1)))
    ledger.push(reply_push((prefix + mobile(1), "7", "TD")))
    assert ledger.statuses() == {mobile(1): "delivered"}
    assert [row["mobile"] for row in ledger.rows(t.optouts)] == [mobile(1)]


def test_a_count_that_lies_is_noted_and_the_list_is_trusted(ledger: Ledger) -> None:
    msg_id = accepted(ledger, mobile(1))
    ledger.push(status_push((mobile(1), msg_id, 1)).replace("<count>1<", "<count>9<"))
    assert ledger.statuses() == {mobile(1): "delivered"}
    (row,) = ledger.rows(t.pushes)
    assert (row["state"], row["reason"]) == ("processed", "count says '9', the list holds 1")


@pytest.mark.parametrize(
    "encode",
    [
        lambda text: text.encode("gbk"),
        lambda text: ('<?xml version="1.0" encoding="GBK"?>' + text).encode("gbk"),
        lambda text: b"\xef\xbb\xbf" + text.encode(),
        lambda text: ('<?xml version="1.0" encoding="UTF-16"?>' + text).encode("utf-16"),
        lambda text: b"\r\n " + text.encode() + b"\n",
    ],
    ids=["GBK and silent about it", "GBK as declared", "with BOM", "UTF-16", "with white space around"],
)
def test_a_push_is_read_in_whatever_encoding_it_comes(ledger: Ledger, encode: object) -> None:
    ledger.push(encode(reply_push((mobile(1), "7", "退订"))))  # type: ignore[operator]
    assert [row["content"] for row in ledger.rows(t.first_replies)] == ["退订"]


@pytest.mark.parametrize(
    ("body", "table"),
    [
        (status_push(*((mobile(n), n + 1, 1) for n in range(1000))), t.reports),
        (reply_push(*((mobile(n), "7", "T") for n in range(1000))), t.first_replies),
    ],
    ids=["reports", "replies"],
)
def test_a_thousand_items_are_a_handful_of_statements(
    ledger: Ledger, statements: list[str], body: str, table: object
) -> None:
    statements.clear()
    ledger.push(body)
    assert len(ledger.rows(table)) == 1000
    assert len([statement for statement in statements if not statement.startswith("BEGIN")]) <= 9


def test_an_unprocessed_push_is_given_out_again_until_it_is_processed(engine: Engine) -> None:
    with engine.begin() as connection:
        push_id = pushes.add(connection, b"<x/>", source="127.0.0.1", received_at=NOW)
        assert pushes.overdue(connection, now=NOW + timedelta(seconds=29)) == []
        assert pushes.overdue(connection, now=NOW + timedelta(seconds=30)) == [push_id]
        assert pushes.overdue(connection, now=NOW + timedelta(seconds=31)) == []
        assert pushes.overdue(connection, now=NOW + timedelta(seconds=60)) == [push_id]
    process_push(engine, push_id, {}, optout_words=OPTOUT_WORDS)
    with engine.begin() as connection:
        assert pushes.overdue(connection, now=NOW + timedelta(days=1)) == []
        assert connection.execute(select(t.pushes.c.state)).scalar_one() == "quarantined"


def test_while_somebody_locks_the_reports_a_push_is_left_to_the_tick_and_applied_afterwards(
    postgres_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    engine = open_engine(postgres_url, lock_wait=LOCK_WAIT)
    ledger = Ledger(engine)
    body = status_push((mobile(1), 7, 1))
    with engine.begin() as other:
        other.execute(text("LOCK TABLE reports IN SHARE MODE"))
        push_id = ledger.push(body)
        assert [row["state"] for row in ledger.rows(t.pushes)] == ["received"]
    assert [line.getMessage().partition(",")[0] for line in caplog.records] == [
        f"push {push_id} is put back and read again within 30 s"
    ]
    with engine.begin() as connection:
        assert pushes.overdue(connection, now=NOW + pushes.STRAY_AFTER) == [push_id]
    process_push(engine, push_id, {ACCOUNT_KEYS: ledger.account_ids["default"]}, optout_words=OPTOUT_WORDS)
    assert [row["state"] for row in ledger.rows(t.pushes)] == ["processed"]
    engine.dispose()


def test_a_push_writes_no_line_of_its_own_into_the_log(ledger: Ledger, tmp_path: Path) -> None:
    logger, handler = logging.getLogger("worker.inbound.process_push"), logging.FileHandler(tmp_path / "log")
    handler.setFormatter(logging.Formatter("[%(levelname)s] %(message)s"))
    logger.addHandler(handler)
    before = logging.getLogRecordFactory()
    log_filter.install()
    try:
        push = reply_push((mobile(1), "100", "TD"))
        ledger.push(push.replace("sword123", "x&#10;[ERROR] the ledger is lost&#x202e;"), NOW)
    finally:
        logging.setLogRecordFactory(before)
        logger.removeHandler(handler)
        handler.close()
    (line,) = (tmp_path / "log").read_text().splitlines()
    assert r"userId x\x0a[ERROR] the ledger is lost\u202e is not an account" in line

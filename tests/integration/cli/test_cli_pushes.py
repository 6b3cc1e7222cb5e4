"""`sms pushes` and `sms replies`."""

import json
from datetime import UTC, datetime, timedelta

import pytest
from ledger_driver import ACCOUNT_KEYS, NOW, Ledger, message, mobile, reply_push, status_push
from sms_command import sms, sms_json

from worker.domain.optout import OPTOUT_WORDS
from worker.inbound.process_push import process_push
from worker.ledger.engine import reading
from worker.ledger.inbound import push_queries, pushes


@pytest.fixture(autouse=True)
def settings(monkeypatch: pytest.MonkeyPatch, ledger_url: str) -> None:
    monkeypatch.setenv("SMS_LEDGER_URL", ledger_url)


def sent(ledger: Ledger, message_id: str, *to: str) -> int:
    """Adds a message that the gateway was called with. Returns its msgId."""
    [submission_ids] = ledger.accept(message(message_id, *to)).values()
    return ledger.claim(submission_ids)[0].msg_id


def test_pushes_come_newest_first_with_what_became_of_them(ledger: Ledger) -> None:
    msg_id = sent(ledger, "m", mobile(1))
    first = ledger.push(status_push((mobile(1), msg_id, 1)))
    second = ledger.push(b"no xml at all")
    with ledger.engine.begin() as connection:
        third = pushes.add(connection, b"<later/>", source="203.0.113.9", received_at=NOW)
    listed = sms_json("pushes")
    assert [(push["id"], push["state"], push["items"], push["unmatched"]) for push in listed] == [
        (third, "received", None, 0),
        (second, "quarantined", 0, 0),
        (first, "processed", 1, 0),
    ]
    assert listed[0]["source"] == "203.0.113.9"
    assert "it is not XML" in listed[1]["reason"]
    assert listed == sms_json("pushes", "list")
    assert [push["id"] for push in sms_json("pushes", "--state", "quarantined")] == [second]
    assert [push["id"] for push in sms_json("pushes", "list", "--limit", 1)] == [third]
    assert "quarantined" in sms("pushes").stdout


def test_a_report_that_matches_no_recipient_is_counted_and_named(ledger: Ledger) -> None:
    msg_id = sent(ledger, "m", mobile(1))
    ledger.push(status_push((mobile(1), msg_id, 1), (mobile(1), 777, 1), (mobile(2), msg_id, -1)))
    [push] = sms_json("pushes")
    assert push["unmatched"] == 2
    assert push["reason"] == f"msgId nobody sent: {min(msg_id, 777)} and 1 more"


def test_a_report_that_came_before_its_message_matches_once_that_is_there(ledger: Ledger) -> None:
    ledger.push(status_push((mobile(1), 777, 1)))
    assert sms_json("pushes")[0]["unmatched"] == 1
    with ledger.engine.begin() as connection:
        connection.exec_driver_sql("UPDATE accounts SET next_msg_id = 777")
    assert sent(ledger, "m", mobile(1)) == 777
    assert sms_json("pushes")[0]["unmatched"] == 0


def test_a_page_of_pushes_makes_as_many_statements_as_one_push(ledger: Ledger, statements: list[str]) -> None:
    def statement_count() -> int:
        statements.clear()
        with reading(ledger.engine) as connection:
            push_queries.newest(connection, limit=100)
            push_queries.newest_replies(connection, limit=100)
        return len(statements)

    ledger.push(status_push((mobile(1), 777, 1)))
    ledger.push(reply_push((mobile(1), "777", "T")))
    for_one = statement_count()
    for number in range(10):
        ledger.push(status_push((mobile(number), number, 1)))
        ledger.push(reply_push((mobile(number), str(number), "T")))
    assert statement_count() == for_one


def test_a_push_is_shown_with_its_body_an_element_to_a_line(ledger: Ledger) -> None:
    push_id = ledger.push(status_push((mobile(1), 777, 1)))
    shown = sms("pushes", "show", push_id).stdout
    assert f"push {push_id} from 127.0.0.1, received 2026-11-22 04:00:00 UTC" in shown
    assert f"\n<mobile>{mobile(1)}</mobile>\n" in shown
    assert sms_json("pushes", "show", push_id)["unmatched"] == 1


@pytest.mark.parametrize("body", ["<a>中文".encode(), "<a>中文".encode("gb18030")])
def test_a_body_that_is_no_xml_is_shown_as_text(ledger: Ledger, body: bytes) -> None:
    assert sms_json("pushes", "show", ledger.push(body))["body"] == "<a>中文"


def test_a_body_of_bytes_and_commands_to_the_terminal_is_shown_harmless(ledger: Ledger) -> None:
    shown = sms("pushes", "show", ledger.push(b"\x1b[2J\xff\x9b"))
    assert shown.exit_code == 0
    assert "\x1b" not in shown.stdout
    assert "\\x1b[2J" in shown.stdout


def test_a_bodys_entities_are_not_expanded(ledger: Ledger) -> None:
    bomb = b'<!DOCTYPE a [<!ENTITY e SYSTEM "file:///etc/passwd">]><a>&e;</a>'
    assert "root:" not in sms_json("pushes", "show", ledger.push(bomb))["body"]


def test_a_push_that_is_not_there_is_told(ledger: Ledger) -> None:
    shown = sms("pushes", "show", 99)
    assert shown.exit_code == 1
    assert "there is no push 99" in shown.stderr
    assert sms("pushes", "show", 10**30).exit_code == 2


def test_a_push_that_is_replayed_is_read_again_and_is_not_there_twice(ledger: Ledger) -> None:
    ours = reply_push((mobile(1), "7", "T"))
    good = ledger.push(ours)
    push_id = ledger.push(ours.replace("<type>2", "<type>9").replace(">T<", ">N<"))
    assert sms_json("pushes", "replay", push_id, good) == [good, push_id]
    assert [(push["state"], push["items"], push["reason"]) for push in sms_json("pushes")] == [
        ("received", None, None)
    ] * 2
    with ledger.engine.begin() as connection:
        assert pushes.overdue(connection, now=datetime.now(UTC)) == [good, push_id]
    for each in (good, push_id):
        process_push(ledger.engine, each, {ACCOUNT_KEYS: ledger.account_ids["default"]}, optout_words=OPTOUT_WORDS)
    assert [push["state"] for push in sms_json("pushes")] == ["quarantined", "processed"]
    assert [reply["content"] for reply in sms_json("replies")] == ["T"]


def test_all_that_is_quarantined_is_replayed_and_nothing_else(ledger: Ledger) -> None:
    bad = [ledger.push(b"no xml"), ledger.push(b"none either")]
    ledger.push(status_push((mobile(1), 7, 1)))
    assert sms_json("pushes", "replay", "--state", "quarantined") == bad
    assert sms_json("pushes", "replay", "--state", "quarantined") == []
    assert "0 pushes will be read again" in sms("pushes", "replay", "--state", "quarantined").stdout


@pytest.mark.parametrize("given", [(), (1, "--state", "quarantined"), (0,), ("--state", "processed")])
def test_a_replay_of_nothing_or_of_too_much_is_refused(given: tuple[object, ...], ledger: Ledger) -> None:
    assert sms("pushes", "replay", *given).exit_code == 2


def test_a_replay_tells_what_is_not_there_and_does_the_rest(ledger: Ledger) -> None:
    push_id = ledger.push(b"no xml")
    replayed = sms("pushes", "replay", push_id, 99)
    assert (replayed.exit_code, "not replayed: 99. A push must exist" in replayed.stderr) == (1, True)
    assert sms_json("pushes")[0]["state"] == "received"


def test_replies_come_newest_first_with_the_message_that_they_answer(ledger: Ledger) -> None:
    msg_id = sent(ledger, "m", mobile(1))
    ledger.push(reply_push((mobile(1), str(msg_id), "TD")))
    ledger.push(reply_push((mobile(2), "x-9", "你好[/red]")), received_at=NOW + timedelta(seconds=1))
    assert [
        (reply["mobile"], reply["content"], reply["msg_id"], reply["message"]) for reply in sms_json("replies")
    ] == [
        (mobile(2), "你好[/red]", "x-9", None),
        (mobile(1), "TD", str(msg_id), "m"),
    ]
    shown = sms("replies").stdout
    assert "你好[/red]" in shown
    assert "msgId x-9, which we did not send" in shown


def test_replies_are_narrowed_by_number_in_any_writing_and_by_age(ledger: Ledger) -> None:
    ledger.push(reply_push((mobile(1), "1", "a"), (mobile(2), "1", "b"), ("10086", "1", "c")))
    assert [reply["content"] for reply in sms_json("replies", "--mobile", f"+86 {mobile(2)}")] == ["b"]
    assert [reply["content"] for reply in sms_json("replies", "--mobile", "10086")] == ["c"]
    assert sms_json("replies", "--since", "2026-11-23") == []
    assert len(sms_json("replies", "--since", NOW.isoformat(), "--limit", 2)) == 2


def test_an_empty_list_is_told_to_people_and_is_an_empty_list_to_programs(ledger: Ledger) -> None:
    assert sms("replies").stdout == "no replies\n"
    assert sms("replies", "--since", "1h").stdout == "no replies\n"
    assert json.loads(sms("pushes", "--json").stdout) == []

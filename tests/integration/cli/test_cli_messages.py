"""`sms show` and `sms messages`."""

import json
from datetime import UTC, datetime, timedelta

import pytest
from ledger_driver import NOW, Ledger, message, mobile, status_push
from redis import Redis
from rich.cells import cell_len
from sms_command import sms, sms_json, sms_process

from worker.domain.lane import LANES
from worker.domain.message import Refused
from worker.domain.read_message import read_message
from worker.domain.status import State
from worker.domain.submission import Recorded
from worker.ledger.engine import reading
from worker.ledger.sending import gates, message_queries
from worker.redis_store import accounts as announced
from worker.redis_store import intake
from worker.sending.take_in import refuse as keep_refused
from worker.sending.take_in import take_in

LONG_ID = "01a20346-6bd1-7ef9-9530-deb074fa32cf"


@pytest.fixture(autouse=True)
def settings(monkeypatch: pytest.MonkeyPatch, ledger_url: str) -> None:
    monkeypatch.setenv("SMS_LEDGER_URL", ledger_url)


def submitted(
    ledger: Ledger, message_id: str, *to: str, state: State = State.ACCEPTED, **said: str | None
) -> list[int]:
    """Adds a message whose calls ended in this state. Returns their msgIds."""
    [submission_ids] = ledger.accept(message(message_id, *to)).values()
    claimed = ledger.claim(submission_ids)
    ledger.record(
        *(Recorded(call.id, call.attempt, state, None, said.get("result"), said.get("tips")) for call in claimed)
    )
    return [call.msg_id for call in claimed]


def refuse(ledger: Ledger, message_id: str) -> None:
    fields = {"to": ["1"], "content": ""}
    with pytest.raises(Refused) as refused:
        read_message(fields, now=NOW, default_id=message_id)
    faults = [str(fault) for fault in refused.value.faults]
    keep_refused(ledger.engine, message_id, faults, json.dumps(fields), NOW)


@pytest.mark.parametrize("encoding", ["utf-8", "UTF8", "latin-1", "ascii"])
def test_json_is_json_whatever_characters_the_output_knows(ledger: Ledger, ledger_url: str, encoding: str) -> None:
    submitted(ledger, "m", mobile(1), result="1", tips="é 成功 😀")
    done = sms_process("show", "m", "--json", SMS_LEDGER_URL=ledger_url, PYTHONIOENCODING=encoding)
    assert json.loads(done.stdout)["recipients"][0]["tips"] == "é 成功 😀"


def test_show_tells_each_recipient_in_the_shape_that_programs_rely_on(ledger: Ledger) -> None:
    [msg_id] = submitted(ledger, "m", mobile(1), mobile(2), result="1", tips="成功")
    ledger.push(status_push((mobile(1), msg_id, 1)), received_at=NOW + timedelta(seconds=3))
    taken = {"msg_id": msg_id, "result": "1", "tips": "成功"}
    assert sms_json("show", "m") == {
        "id": "m",
        "account": "default",
        "lane": "notice",
        "content": "您好",
        "created_at": "2026-11-22T04:00:00+00:00",
        "metadata": None,
        "caller": None,
        "expires_at": "2026-11-23T04:00:00+00:00",
        "counts": {"accepted": 1, "delivered": 1},
        "recipients": [
            {
                "mobile": mobile(1),
                "status": "delivered",
                "reason": None,
                **taken,
                "updated_at": "2026-11-22T04:00:03+00:00",
            },
            {
                "mobile": mobile(2),
                "status": "accepted",
                "reason": None,
                **taken,
                "updated_at": "2026-11-22T04:00:00+00:00",
            },
        ],
    }


@pytest.mark.parametrize(
    ("state", "said", "sentence"),
    [
        (State.UNKNOWN, {"tips": "no response came"}, "nobody knows whether the gateway took it (no response came)"),
        (State.REJECTED, {"result": "-8", "tips": "签名不对"}, "refused it for good: result -8 签名不对"),
    ],
)
def test_show_says_in_a_sentence_why_a_recipient_was_not_sent_to(
    ledger: Ledger, state: State, said: dict[str, str], sentence: str
) -> None:
    submitted(ledger, "m", state=state, **said)
    [recipient] = sms_json("show", "m")["recipients"]
    assert recipient["status"] == state
    assert sentence in recipient["reason"]


def test_show_tells_people_the_whole_number_the_status_and_the_reason(ledger: Ledger) -> None:
    submitted(ledger, LONG_ID, mobile(7), state=State.UNKNOWN)
    shown = sms("show", LONG_ID).stdout
    assert LONG_ID in shown
    assert f"{mobile(7)}   unknown" in shown
    assert "a report settles" in " ".join(shown.split())


def test_show_tells_until_when_a_message_for_later_waits(ledger: Ledger) -> None:
    ledger.accept(message("m", at="2026-11-22T13:00:00+08:00"))
    [recipient] = sms_json("show", "m")["recipients"]
    assert recipient["reason"] == "it waits until 2026-11-22 05:00:00 UTC"


def test_show_limits_the_recipients_but_counts_them_all(ledger: Ledger) -> None:
    ledger.accept(message("m", *map(mobile, range(60))))
    assert "and 10 more" in sms("show", "m").stdout
    assert "and 57 more" in sms("show", "m", "--limit", 3).stdout
    assert len(sms_json("show", "m")["recipients"]) == 60
    limited = sms_json("show", "m", "--limit", 3)
    assert (len(limited["recipients"]), limited["counts"]) == (3, {"queued": 60})


def test_show_finds_a_message_that_still_lies_in_the_intake(
    ledger: Ledger, redis: Redis, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SMS_REDIS_URL", redis_url)
    intake.put(redis, [message("m", mobile(1), lane="otp")], now=NOW)
    lying = sms_json("show", "m")
    assert (lying["lane"], lying["counts"]) == ("otp", {"intake": 1})
    assert lying["recipients"][0]["reason"].startswith("it has been in the intake since 2026-11-22 04:00:00 UTC")
    ledger.accept(message("m", mobile(1), lane="otp"))
    assert sms_json("show", "m")["counts"] == {"queued": 1}


def test_show_tells_that_a_closed_gate_is_in_the_way_of_what_waits_and_who_opens_it(ledger: Ledger) -> None:
    ledger.accept(message("now"), message("later", at="2026-11-22T13:00:00+08:00"))
    submitted(ledger, "sent")
    with ledger.engine.begin() as connection:
        gates.pause(connection, "default", reason="wrong text", by="operator:eve", now=NOW)
    closed = (
        "the gate of default is closed since 2026-11-22 04:00:00 UTC by operator:eve: wrong text; "
        "it waits for `sms account resume default`"
    )
    reasons = {name: sms_json("show", name)["recipients"][0]["reason"] for name in ("now", "later", "sent")}
    assert reasons == {"now": closed, "later": f"it waits until 2026-11-22 05:00:00 UTC; {closed}", "sent": None}


def test_show_tells_that_a_gate_that_the_gateway_closed_opens_by_itself(ledger: Ledger) -> None:
    ledger.accept(message("m"))
    with ledger.engine.begin() as connection:
        until = NOW + timedelta(minutes=1)
        gates.close(connection, ledger.account_ids["default"], "account: -3 Key验证失败", now=NOW, until=until)
    reason = sms_json("show", "m")["recipients"][0]["reason"]
    assert "by gateway: account: -3 Key验证失败; it opens by itself once a call goes through, or with" in reason


def test_show_tells_that_no_worker_has_the_account(
    ledger: Ledger, redis: Redis, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SMS_REDIS_URL", redis_url)
    ledger.accept(message("m"))
    assert sms_json("show", "m")["recipients"][0]["reason"] is None
    announced.announce(redis, ["shop"], now=datetime.now(UTC))
    assert sms_json("show", "m")["recipients"][0]["reason"] == (
        "no worker has the account default; put it back into the workers' settings, or the message expires"
    )
    monkeypatch.setenv("SMS_REDIS_URL", "redis://127.0.0.1:1/0")
    assert sms_json("show", "m")["recipients"][0]["reason"] is None


def test_show_tells_that_a_message_in_the_intake_waits_for_a_worker_that_has_its_account(
    ledger: Ledger, redis: Redis, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SMS_REDIS_URL", redis_url)
    intake.put(redis, [message("m", account="new")], now=NOW)
    take_in(redis, len, lambda *_: None, LANES["notice"], ["default"], now=NOW)
    assert sms_json("show", "m")["recipients"][0]["reason"] == (
        "it has been in the intake since 2026-11-22 04:00:00 UTC; "
        "it waits for a worker that has the account new, and is refused at 2026-11-23 04:00:00 UTC"
    )


def test_show_tells_what_a_message_was_sent_with_wherever_it_is(
    ledger: Ledger, redis: Redis, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SMS_REDIS_URL", redis_url)
    sent = message("m", at="2026-11-22T13:00:00+08:00", valid_for=600, caller="shop", metadata={"单号": [4711, None]})
    with_it = {"metadata": {"单号": [4711, None]}, "caller": "shop", "expires_at": "2026-11-22T05:10:00+00:00"}
    intake.put(redis, [sent], now=NOW)
    for where in ("intake", "held"):
        answer = sms_json("show", "m")
        assert (answer["counts"], {name: answer[name] for name in with_it}) == ({where: 1}, with_it)
        shown = sms("show", "m").stdout
        assert 'metadata   {"单号": [4711, null]}' in shown
        assert "caller     shop" in shown
        assert "valid      until 2026-11-22 05:10:00 UTC" in shown
        ledger.accept(sent)


def test_show_tells_what_was_wrong_with_a_refused_message(ledger: Ledger) -> None:
    refuse(ledger, "m")
    shown = sms("show", "m")
    assert shown.exit_code == 0
    assert "fault      to[0] '1' is too short" in shown.stdout
    assert "fault      content is empty" in shown.stdout


def test_show_says_what_to_do_about_an_id_that_nobody_knows(ledger: Ledger) -> None:
    shown = sms("show", "nobody")
    assert (shown.exit_code, shown.stdout) == (1, "")
    assert "no message nobody is in the ledger" in shown.stderr
    assert "`sms messages`" in shown.stderr


def test_show_tells_a_text_that_can_be_no_id(ledger: Ledger) -> None:
    assert sms("show", "13800138000 ?").exit_code == 2


def test_show_says_that_the_intake_could_not_be_asked(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SMS_REDIS_URL", "redis://127.0.0.1:1/0")
    shown = sms("show", "nobody")
    assert shown.exit_code == 1
    assert "the intake cannot be asked" in shown.stderr
    assert "Connection refused. Try again later." in shown.stderr


def test_messages_come_newest_first_with_their_counts(ledger: Ledger) -> None:
    ledger.accept(message("first", *map(mobile, range(3))))
    [msg_id] = submitted(ledger, "second", mobile(1), mobile(2))
    ledger.push(status_push((mobile(1), msg_id, -1)))
    assert [(row["id"], row["counts"]) for row in sms_json("messages")] == [
        ("second", {"accepted": 1, "undelivered": 1}),
        ("first", {"queued": 3}),
    ]
    assert [row["id"] for row in sms_json("messages", "--limit", 1)] == ["second"]


def test_messages_are_narrowed_by_lane_status_account_and_age(ledger: Ledger) -> None:
    fresh = datetime.now(UTC)
    ledger.accept(message("old"))
    [submission_ids] = ledger.accept(message("code", lane="otp")).values()
    ledger.claim(submission_ids)
    with ledger.engine.begin() as connection:
        connection.exec_driver_sql("UPDATE messages SET created_at = '2020-01-01 00:00:00' WHERE public_id = 'old'")

    def ids(*args: object) -> list[str]:
        return [row["id"] for row in sms_json("messages", *args)]

    assert ids() == ["code", "old"]
    assert ids("--lane", "otp") == ["code"]
    assert ids("--status", "queued") == ["old"]
    assert ids("--account", "default") == ["code", "old"]
    assert ids("--account", "other") == []
    assert ids("--since", "2026-01-01") == ["code"]
    assert ids("--since", fresh.isoformat()) == []


def test_messages_make_as_many_statements_for_fifty_as_for_one(ledger: Ledger, statements: list[str]) -> None:
    def statement_count() -> int:
        statements.clear()
        with reading(ledger.engine) as connection:
            message_queries.newest(connection, limit=100, status="queued")
        return len(statements)

    ledger.accept(message("m"))
    for_one = statement_count()
    ledger.accept(*(message(f"m{number}", *map(mobile, range(5))) for number in range(50)))
    assert statement_count() == for_one


def test_an_id_is_whole_on_a_terminal_of_80_columns(ledger: Ledger) -> None:
    submitted(ledger, LONG_ID, *map(mobile, range(40)))
    shown = sms("messages").stdout
    assert LONG_ID in shown
    assert max(map(len, shown.splitlines())) <= 80


@pytest.mark.parametrize("message_id", [LONG_ID, "n" * 64])
def test_a_chinese_text_leaves_the_other_columns_their_room(ledger: Ledger, message_id: str) -> None:
    text = "尊敬的客户您本期账单共计一百二十三元请于月底之前缴清谢谢您的支持与配合"
    submitted(ledger, message_id, *map(mobile, range(1200)), state=State.UNKNOWN)
    ledger.accept(message("chinese", lane="marketing", content=text, at="2026-11-22T13:00:00+08:00"))
    ledger.accept(message("refused", lane="marketing", content=text))
    lines = sms("messages").stdout.splitlines()
    assert max(map(cell_len, lines)) <= 80
    shown = "\n".join(lines)
    for whole in ("2026-11-22", "04:00:00", "marketing", "default", "unknown", "1,200", "held 1", message_id[-28:]):
        assert whole in shown
    assert f"{text[:17]}…" in shown


def test_refused_messages_are_told_with_their_faults_and_what_came(ledger: Ledger) -> None:
    refuse(ledger, LONG_ID)
    [refused] = sms_json("messages", "--refused")
    assert refused["id"] == LONG_ID
    assert refused["faults"][0].startswith("to[0] '1' is too short")
    assert json.loads(refused["payload"]) == {"to": ["1"], "content": ""}
    shown = " ".join(sms("messages", "--refused").stdout.split())
    assert LONG_ID in shown
    assert "is too short" in shown


def test_a_refused_message_is_listed_with_the_whole_of_its_faults_and_the_first_of_many(ledger: Ledger) -> None:
    fields = {"to": ["13800138000"], "content": "您好", "kontent": "您好", "lane": "vip"}
    with pytest.raises(Refused) as refused:
        read_message(fields, now=NOW, default_id="m")
    keep_refused(ledger.engine, "few", [str(fault) for fault in refused.value.faults], json.dumps(fields), NOW)
    keep_refused(ledger.engine, "n" * 64, [f"fault {number}" for number in range(9)], "{}", NOW)
    lines = sms("messages", "--refused").stdout.splitlines()
    assert max(map(cell_len, lines)) <= 80
    column = next(line.index("why, and") for line in lines if "why, and" in line)
    shown = "".join("".join(line[column:] for line in lines).split())
    for fault in refused.value.faults:
        assert str(fault).replace(" ", "") in shown
    assert "fault4and4more:see`smsshow`" in shown


def test_what_people_wrote_is_neither_markup_nor_a_command_to_the_terminal(ledger: Ledger) -> None:
    ledger.accept(message("m", content="[red]a[/nothing] :smile:"))
    assert "[red]a[/nothing] :smile:" in sms("messages").stdout
    assert "[red]a[/nothing] :smile:" in sms("show", "m").stdout


@pytest.mark.parametrize(
    "wrong",
    [
        ("--since", "soon"),
        ("--since", "999999d"),
        ("--since", "9999-12-31T23:59:59-23:59"),
        ("--since", "0001-01-01T00:00:00+14:00"),
        ("--limit", "0"),
        ("--lane", "x"),
        ("--refused", "--lane", "otp"),
    ],
)
def test_a_wrong_use_of_messages_is_told_with_exit_code_2(ledger: Ledger, wrong: tuple[str, ...]) -> None:
    assert sms("messages", *wrong).exit_code == 2


def test_what_was_refused_is_shown_whatever_characters_its_fields_have(ledger: Ledger) -> None:
    fault = "x\ud800\x9b\u202e: is not a field of a message"
    keep_refused(ledger.engine, "odd", [fault], "{}", NOW)
    shown = sms("messages", "--refused")
    assert shown.exit_code == 0, shown.output
    assert r"x\ud800\x9b\u202e" in shown.stdout
    printed = sms("messages", "--refused", "--json")
    assert printed.exit_code == 0, printed.output
    assert "\x9b" not in printed.stdout
    assert json.loads(printed.stdout)[0]["faults"] == [fault]

"""Reading a message: all of it right, or every fault at once."""

import json
import os
import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from itertools import repeat

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.domain.caller import OTHERS, as_caller, caller_fault, with_known_caller
from worker.domain.message import MAX_RECIPIENTS, Message, MessageKey, Refused, is_id, new_id
from worker.domain.message_json import from_json, to_json
from worker.domain.read_message import FIELDS, read_message

NOW = datetime(2026, 11, 22, 4, 0, tzinfo=UTC)
GOOD = {"to": "13800138000", "content": "您好"}


def nested(levels: int) -> dict[str, object]:
    inner: dict[str, object] = {}
    for _ in range(levels):
        inner = {"x": inner}
    return inner


def read(**fields: object) -> Message:
    return read_message(GOOD | fields, now=NOW, default_id="an-id", accounts={"default", "shop"})


def faults(**fields: object) -> list[str]:
    with pytest.raises(Refused) as refused:
        read(**fields)
    return [str(fault) for fault in refused.value.faults]


def test_a_message_of_two_fields_is_a_notice_for_the_default_account() -> None:
    message = read()
    assert (message.to, message.lane, message.account, message.id) == (("13800138000",), "notice", "default", "an-id")
    assert message.valid_for is None


def test_a_mobile_that_is_written_twice_is_one_recipient() -> None:
    assert read(to=["13800138000", "+86 138 0013 8000", "13900139000"]).to == ("13800138000", "13900139000")


def test_how_long_it_is_worth_sending_is_in_seconds() -> None:
    message = read(at="2026-11-22T13:00:00+08:00", valid_for=90)
    assert message.at == datetime(2026, 11, 22, 5, 0, tzinfo=UTC)
    assert message.valid_for == timedelta(seconds=90)


def test_a_key_is_of_its_account_and_of_the_caller_that_is_named() -> None:
    assert read(key="order-1").key == MessageKey("default", "", "order-1")
    assert read(key="order-1", account="shop", caller="web").key == MessageKey("shop", "web", "order-1")


def test_an_id_of_its_own_is_kept() -> None:
    assert read(id="order:1").id == "order:1"


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"to": None}, "to is missing"),
        ({"to": []}, "to is empty"),
        ({"to": 13800138000}, "to is missing"),
        ({"to": ["13800138000", "1380013"]}, "to[1] '1380013' is too short"),
        ({"to": [13800138000]}, "to[0] 13800138000 is not a string"),
        ({"to": ["13800138000"] * (MAX_RECIPIENTS + 1)}, "more than the 10000"),
        ({"content": None}, "content is missing"),
        ({"content": ""}, "content is empty"),
        ({"content": "字" * 1001}, "shorten or split it"),
        ({"content": "【某商城】您好"}, "signature"),
        ({"lane": "express"}, "'express' is unknown; it is one of otp, notice, marketing"),
        ({"lane": ["otp"]}, "is unknown"),
        ({"account": "other"}, "'other' is unknown; the accounts are: default, shop"),
        ({"account": ["default"]}, "is unknown"),
        ({"at": "tomorrow"}, "'tomorrow' is not a time"),
        ({"at": 5}, "is not a time"),
        ({"at": "2026-12-01T09:00:00"}, "has no time zone"),
        ({"at": "2026-11-22T03:58:00+00:00"}, "is in the past"),
        ({"at": "9999-12-31T23:59:59+00:00"}, "is more than 366 days ahead"),
        ({"at": datetime.max.replace(tzinfo=timezone(timedelta(hours=-12)))}, "is more than 366 days ahead"),
        ({"at": datetime.min.replace(tzinfo=timezone(timedelta(hours=12)))}, "is in the past"),
        ({"at": NOW + timedelta(days=367)}, "is more than 366 days ahead"),
        ({"valid_for": 0}, "not a length of time"),
        ({"valid_for": -1}, "not a length of time"),
        ({"valid_for": float("nan")}, "not a length of time"),
        ({"valid_for": True}, "not a length of time"),
        ({"valid_for": "90"}, "not a length of time"),
        ({"valid_for": 8 * 86400}, "not a length of time"),
        ({"metadata": {"when": NOW}}, "metadata is not JSON"),
        ({"metadata": {1: 2}}, "metadata is not JSON"),
        ({"metadata": [1]}, "metadata is not JSON"),
        ({"metadata": {"x": float("nan")}}, "metadata is not JSON"),
        ({"metadata": {"x": "y" * 5000}}, "more than 4096"),
        ({"metadata": nested(17)}, "metadata is nested deeper than 16 levels"),
        ({"metadata": nested(900)}, "metadata is nested deeper than 16 levels"),
        ({"metadata": nested(100_000)}, "metadata is nested deeper than 16 levels"),
        ({"metadata": {"x": [{"y": "\0"}]}}, "metadata has the character U+0000"),
        ({"metadata": {"x": {"\ud83d": 1}}}, "metadata has the character U+D83D"),
        ({"metadata": {"x": 10**5000}}, "metadata is not JSON"),
        ({"content": "您\0好"}, "content has the character U+0000"),
        ({"content": "您好\ud83d"}, "content has the character U+D83D"),
        ({"account": "\0"}, "account '\\x00' is unknown"),
        ({"account": "x" * 100_000}, "is unknown"),
        ({"to": [10**5000]}, "to[0] a number of many digits is not a string"),
        ({"to": [nested(100_000)]}, "to[0] a dict is not a string"),
        ({"to": repeat("13800138000")}, "more than the 10000"),
        ({"key": "a\0"}, "key is a string of 1 to 200 printable"),
        ({"key": "\ud83d"}, "key is a string of 1 to 200 printable"),
        ({"caller": "\0"}, "caller is a name of 1 to 64 printable"),
        ({"caller": "x" * 65}, "caller is a name of 1 to 64 printable"),
        ({"caller": "campaign/7"}, "is a campaign; give another name"),
        ({"caller": "campaign:march"}, "is a campaign; give another name"),
        ({"caller": "Campaign/7"}, "is a campaign; give another name"),
        ({"caller": "ｃａｍｐａｉｇｎ／7"}, "is a campaign; give another name"),
        ({"notify": "app.told"}, "notify does not exist yet"),
        ({"key": ""}, "key is a string of 1 to 200"),
        ({"key": "a", "id": "b"}, "key and id are both given"),
        ({"id": "x" * 65}, "is not an id"),
        ({"id": 7}, "7 is not an id"),
        ({"contents": "x"}, "contents is not a field of a message"),
    ],
)
def test_a_fault_is_told_with_its_field_and_what_to_do(fields: dict[str, object], sentence: str) -> None:
    assert any(sentence in fault for fault in faults(**fields))


def test_every_fault_of_a_message_is_told_at_once() -> None:
    sentences = faults(to=["x", "13800138000"], content="", lane="express", account="other", at="x", metadata=[])
    assert [fault.split(" ")[0] for fault in sentences] == ["to[0]", "content", "lane", "account", "at", "metadata"]


def test_many_faults_are_all_kept_and_the_first_twenty_shown() -> None:
    with pytest.raises(Refused, match="and 5 more") as refused:
        read(to=["1"] * 25)
    assert len(refused.value.faults) == 25


def test_where_nobody_knows_the_accounts_any_is_taken() -> None:
    assert read_message(GOOD | {"account": "new"}, now=NOW, default_id="i", accounts=None).account == "new"


def test_a_time_a_moment_ago_is_meant_as_now() -> None:
    assert read(at=NOW - timedelta(seconds=30)).at == NOW - timedelta(seconds=30)


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"at": NOW + timedelta(hours=1), "metadata": {"订单": [1, None, "\n😀"]}},
        {"valid_for": 60},
        {"account": "shop", "metadata": {}},
    ],
)
def test_the_intake_gives_back_what_was_put_in(fields: dict[str, object]) -> None:
    written = to_json(read(**fields))
    assert from_json(written.encode()) == read(**fields)


def test_what_is_as_usual_takes_no_room_in_the_intake() -> None:
    written = to_json(read(content="您的验证码是 123456"))
    assert not [name for name in ("account", "at", "valid_for", "metadata", "null") if f'"{name}"' in written]
    assert "您的验证码是" in written


def test_a_message_that_an_earlier_version_put_into_the_intake_is_read() -> None:
    message = read()
    fields = json.loads(to_json(message)) | {"account": "default", "at": None, "valid_for": None, "metadata": None}
    assert from_json(json.dumps(fields)) == message


def in_json(**fields: object) -> str:
    return json.dumps(json.loads(to_json(read())) | fields)


RAW = {
    "nothing": (b"", "is not JSON"),
    "bytes that are not UTF-8": (b'{"id": "\xff"}', "is not JSON in UTF-8"),
    "nested without end": (b"[" * 100_000, "is not JSON"),
    "a list": (b"[1]", "and not a mapping"),
    "an empty mapping": (b"{}", "id is missing"),
    "null content": (in_json(content=None), "content is missing"),
    "a number as content": (in_json(content=7), "content is missing"),
    "half an emoji": (in_json(content="\ud83d"), "content has the character U+D83D"),
    "a NUL": (in_json(content="您\0"), "content has the character U+0000"),
    "an unknown lane": (in_json(lane="vip"), "lane 'vip' is unknown"),
    "a lane that is a list": (in_json(lane=["otp"]), "lane a list is unknown"),
    "no mobile": (in_json(to=[]), "to is missing"),
    "a bad mobile": (in_json(to=["12"]), "to[0] '12' is too short"),
    "a mapping of mobiles": (in_json(to={"13800138000": 1}), "to is missing"),
    "no id": (in_json(id=None), "id is missing"),
    "a long id": (in_json(id="x" * 65), "is not an id"),
    "a caller with a NUL": (in_json(caller="\0"), "caller is a name"),
    "a campaign as caller": (in_json(caller="campaign/1"), "is a campaign"),
    "a time without a zone": (in_json(created_at="2026-11-22T04:00:00"), "created_at is not a time with a zone"),
    "no time": (in_json(created_at=7), "created_at is not a time"),
    "a time before time": (in_json(created_at="0001-01-01T00:00:00+23:00"), "created_at is not a time"),
    "a time after time": (in_json(created_at="9999-12-31T00:00:00-23:00"), "created_at is not a time"),
    "far ahead": (in_json(at="9999-12-31T23:59:59+00:00"), "more than 366 days ahead"),
    "valid for ever": (in_json(valid_for=1e300), "not a length of time"),
    "valid for a number that is none": (in_json(valid_for=float("nan")), "not a length of time"),
    "metadata that is a list": (in_json(metadata=[1]), "metadata is not JSON"),
    "metadata nested too deep": (in_json(metadata=nested(100)), "metadata is nested"),
}


@pytest.mark.parametrize(("raw", "sentence"), RAW.values(), ids=RAW)
def test_whatever_lies_in_the_intake_is_a_message_or_refused_with_its_faults(raw: str | bytes, sentence: str) -> None:
    with pytest.raises(Refused, match=re.escape(sentence)):
        from_json(raw)


def test_what_a_later_version_wrote_beside_the_fields_is_passed_over() -> None:
    assert from_json(in_json(priority=7)) == read()


@given(st.binary() | st.text())
def test_any_bytes_are_a_message_or_refused(raw: str | bytes) -> None:
    with pytest.raises(Refused):
        from_json(raw)


@pytest.mark.parametrize("machine", ["web-1", "", "\0\ud83d", "x" * 100, "campaign/7", "Campaign:7"])
def test_a_machine_of_any_name_is_a_caller(machine: str) -> None:
    name = as_caller(machine)
    assert name == machine or caller_fault(name) is None


ANY_TIME = st.datetimes(timezones=st.none() | st.timezones())
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | ANY_TIME | st.just("13800138000"),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
)


@given(st.dictionaries(st.sampled_from([*sorted(FIELDS), "other"]), ANYTHING))
def test_any_fields_are_a_message_or_refused(fields: dict[str, object]) -> None:
    try:
        message = read_message(fields, now=NOW, default_id="i", accounts=None)
    except Refused as refused:
        assert refused.faults
    else:
        assert from_json(to_json(message)) == replace(message, key=None)


def test_new_ids_sort_by_time_and_are_uuids() -> None:
    ids = [new_id(NOW + timedelta(milliseconds=n), os.urandom(10)) for n in range(50)]
    assert ids == sorted(ids)
    assert all(is_id(i) and len(i) == 36 and i[14] == "7" for i in ids)


@pytest.mark.parametrize(
    ("args", "kwargs"), [([{"to": "1"}], {}), ([], {"to": "1"}), ([], {"message": {}, "to": "1"}), ([], {})]
)
def test_a_task_whose_arguments_are_no_message_is_told_how_to_write_them(args: list[object], kwargs: object) -> None:
    with pytest.raises(Refused) as refused:
        read_message({"args": args, "kwargs": kwargs}, now=NOW, default_id="m")
    assert [str(fault) for fault in refused.value.faults] == [
        'message is not given by its name; write send_task("sms.send", kwargs={"message": {"to": …, "content": …}}, …)'
    ]


def test_who_is_not_one_of_the_callers_shares_with_the_others_if_callers_are_named() -> None:
    message = read(caller="shop")
    assert with_known_caller(message, {"shop", "bank"}).caller == "shop"
    assert with_known_caller(message, {"bank"}).caller == OTHERS
    assert with_known_caller(message, ()) is message

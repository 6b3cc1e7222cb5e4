"""What a `cmd=send` call says."""

import hashlib
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from worker.gateway.request import Call, Credentials, ResponseFormat, parameters, timestamp

CREDENTIALS = Credentials(epr_id=7, user_id="sword123", password=SecretStr("geheim密"))
CALL = Call(msg_id=123423433, mobiles=("13025452766", "13800138000"), content="您的验证码是 1 & 2")
AT = datetime(2026, 1, 2, 3, 4, 5, 678999, tzinfo=UTC)


def test_a_call_carries_every_parameter_of_the_document_and_no_other() -> None:
    said = parameters(CREDENTIALS, CALL, "json", AT)

    assert said == {
        "cmd": "send",
        "eprId": "7",
        "userId": "sword123",
        "timestamp": "1767323045678",
        "key": hashlib.md5("7sword123geheim密1767323045678".encode()).hexdigest(),
        "msgId": "123423433",
        "format": "1",
        "mobile": "13025452766,13800138000",
        "content": "您的验证码是 1 & 2",
    }


@pytest.mark.parametrize(("response_format", "number"), [("json", "1"), ("xml", "2")])
def test_the_format_is_asked_for_by_its_number(response_format: ResponseFormat, number: str) -> None:
    assert parameters(CREDENTIALS, CALL, response_format, AT)["format"] == number


def test_the_timestamp_is_the_same_moment_in_every_zone() -> None:
    assert timestamp(AT.astimezone(timezone(timedelta(hours=8)))) == timestamp(AT)


@given(st.integers(10**15, 10**16 - 1))
def test_the_timestamp_is_the_thirteen_digits_of_the_milliseconds_begun(micros: int) -> None:
    assert timestamp(datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=micros)) == str(micros)[:13]


def test_neither_password_nor_mobile_nor_content_shows_in_a_repr() -> None:
    shown = repr(CREDENTIALS) + repr(CALL)

    assert not any(secret in shown for secret in ("geheim", *CALL.mobiles, CALL.content))

"""The parameters of a `cmd=send` call, to the letter of the vendor's document. Pure: the time is an argument."""

import hashlib
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Literal

from pydantic import SecretStr

ResponseFormat = Literal["json", "xml"]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_FORMATS: dict[ResponseFormat, str] = {"json": "1", "xml": "2"}


@dataclass(frozen=True, slots=True)
class Credentials:
    """The 企业Id, 用户Id and 用户密码 of an account."""

    epr_id: int
    user_id: str
    password: SecretStr


@dataclass(frozen=True, slots=True)
class Call:
    """One `cmd=send` call. `msg_id` is 1 to 2^31-1, `mobiles` are normalised, `content` has no signature."""

    msg_id: int
    mobiles: tuple[str, ...] = field(repr=False)
    content: str = field(repr=False)


def timestamp(at: datetime) -> str:
    """时间戳（13位）: the milliseconds from 1970 (UTC) to an aware `at`."""
    return str((at - _EPOCH) // timedelta(milliseconds=1))


def key(credentials: Credentials, stamp: str) -> str:
    """Md5_32(企业Id+用户Id+用户密码+时间戳): 32 hex digits. `stamp` is the parameter `timestamp`."""
    signed = f"{credentials.epr_id}{credentials.user_id}{credentials.password.get_secret_value()}{stamp}"
    return hashlib.md5(signed.encode(), usedforsecurity=False).hexdigest()


def parameters(credentials: Credentials, call: Call, response_format: ResponseFormat, at: datetime) -> dict[str, str]:
    """Every parameter of the call in the document's order, not yet encoded, signed for the moment `at` (aware)."""
    stamp = timestamp(at)
    return {
        "cmd": "send",
        "eprId": str(credentials.epr_id),
        "userId": credentials.user_id,
        "timestamp": stamp,
        "key": key(credentials, stamp),
        "msgId": str(call.msg_id),
        "format": _FORMATS[response_format],
        "mobile": ",".join(call.mobiles),
        "content": call.content,
    }

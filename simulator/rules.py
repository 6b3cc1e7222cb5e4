"""The rules of the document for a call: from its parameters to a call, or to the code that refuses it.

No clock and no I/O.
"""

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import parse_qsl

_INT = re.compile(r"-?[0-9]{1,10}")
_TIMESTAMP = re.compile(r"[0-9]{13}")  # 时间戳（13位）
_MOBILE = re.compile(r"[0-9]{6,15}")
_SIGNED = re.compile(r"\A【[^】]*】|【[^】]*】\Z")
_INT_MIN, _INT_MAX = -(2**31), 2**31 - 1


@dataclass(frozen=True, slots=True)
class Account:
    epr_id: str
    user_id: str
    password: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Rules:
    """The accounts that the gateway knows, and limits that the document leaves open.

    A `max_mobiles` of 0 means no limit.
    """

    accounts: tuple[Account, ...]
    timestamp_window_seconds: float = 600
    max_mobiles: int = 50


@dataclass(frozen=True, slots=True)
class Call:
    """A `cmd=send` that keeps every rule."""

    account: Account
    msg_id: int
    mobiles: tuple[str, ...]
    content: str
    xml: bool


def parse_params(form: bytes) -> dict[str, str]:
    """The parameters of a URL-encoded form or query. Empty if it is not UTF-8, as the document demands."""
    try:
        return dict(parse_qsl(form.decode(), keep_blank_values=True, errors="strict"))
    except UnicodeDecodeError:
        return {}


def check(params: Mapping[str, str], rules: Rules, now_ms: int) -> Call | str:
    """The call, or the result code that refuses it.

    The document gives no order. Here malformed parameters come first, then the caller's identity, the timestamp, and
    the text.
    """
    if not _well_formed(params):
        return "-1"
    account = _identify(params, rules.accounts)
    if isinstance(account, str):
        return account
    if abs(now_ms - int(params["timestamp"])) > rules.timestamp_window_seconds * 1000:
        return "-2"
    if _SIGNED.search(params["content"]):
        return "-8"
    mobiles = tuple(params["mobile"].split(","))
    if rules.max_mobiles and len(mobiles) > rules.max_mobiles:
        return "0"
    return Call(account, int(params["msgId"]), mobiles, params["content"], params["format"] == "2")


def sign(account: Account, timestamp: str) -> str:
    """Md5_32(企业Id+用户Id+用户密码+时间戳), in lower case, without separators."""
    text = f"{account.epr_id}{account.user_id}{account.password}{timestamp}"
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()


def _identify(params: Mapping[str, str], accounts: tuple[Account, ...]) -> Account | str:
    users = [account for account in accounts if account.epr_id == params["eprId"]]
    if not users:
        return "-5"
    account = next((account for account in users if account.user_id == params["userId"]), None)
    if account is None:
        return "-6"
    return account if params["key"].lower() == sign(account, params["timestamp"]) else "-3"


def _well_formed(params: Mapping[str, str]) -> bool:
    get = params.get
    return (
        get("cmd") == "send"
        and _is_int(get("eprId", ""))
        and bool(get("userId"))
        and _TIMESTAMP.fullmatch(get("timestamp", "")) is not None
        and bool(get("key"))
        and _is_int(get("msgId", ""))
        and get("format") in {"1", "2"}
        and all(_MOBILE.fullmatch(mobile) for mobile in get("mobile", "").split(","))
        and bool(get("content"))
    )


def _is_int(text: str) -> bool:
    return _INT.fullmatch(text) is not None and _INT_MIN <= int(text) <= _INT_MAX

"""How the text of a setting becomes its value. Each function raises ValueError, which says how to write it."""

import re
from collections.abc import Callable
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import SecretStr

from worker.domain.caller import caller_fault
from worker.domain.caps import read_cap
from worker.domain.hours import Hours, read_hours
from worker.domain.optout import normalised

Network = IPv4Network | IPv6Network

EXAMPLE = "https://sms.example.com/api/webservice"
LOOPBACK = (IPv4Network("127.0.0.0/8"), IPv6Network("::1"))


def read_secret(path: str) -> str:
    """The text of a file, without the line end that an editor puts there."""
    try:
        return Path(path).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"the secret file {path} cannot be read: {error}") from error


def check_url(value: str) -> str:
    if not re.fullmatch(r"https?://\S+", value):
        raise ValueError(f"write an address that begins with http:// or https://, like {EXAMPLE}")
    return value


def check_signature(value: str) -> str:
    if value and not re.fullmatch("【[^【】]+】", value):
        raise ValueError("write it within 【 and 】, like 【某某银行】")
    return value


def read_networks(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    return tuple(_network(part.strip()) for part in value.split(","))


def _network(text: str) -> Network:
    try:
        network = ip_network(text, strict=False)
    except ValueError as error:
        raise ValueError(f"{error}; write CIDRs with commas between them, like 203.0.113.0/24") from error
    if "/" in text and ip_address(text.partition("/")[0]) != network.network_address:
        raise ValueError(f"{text} is an address within a network; write {network} for all of it")
    return network


def check_tokens(value: SecretStr) -> SecretStr:
    tokens = split_tokens(value)
    if len(tokens) > 2 or min(map(len, tokens)) < 16:
        raise ValueError("give one token of 16 characters or more, or two with a comma between them")
    return value


def split_tokens(tokens: SecretStr) -> tuple[str, ...]:
    return tuple(part.strip() for part in tokens.get_secret_value().split(","))


def read_words(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    words = _names(value, "[,，]", normalised)
    if not words:
        raise ValueError("give at least one word, with commas between words; without one nobody could opt out")
    return words


def read_callers(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    names = _names(value, ",", str.strip)
    faults = [f"{name!r} {fault}" for name in sorted(names) if (fault := caller_fault(name))]
    if faults:
        raise ValueError("; ".join(faults))
    return names


def _names(value: str, separator: str, read: Callable[[str], str]) -> frozenset[str]:
    return frozenset(map(read, re.split(separator, value))) - {""}


def read_lane_hours(value: Any) -> Hours | None:
    return None if value == "always" else read_hours(str(value))


def read_caps(value: Any) -> Any:
    if not isinstance(value, list):
        raise ValueError('write a list of caps, like ["1/minute", "5/hour"]')  # noqa: TRY004 - pydantic catches ValueErrors
    # A cap that is given twice would count each message twice.
    return tuple(dict.fromkeys(read_cap(str(cap)) for cap in value))


def read_statuses(value: Any) -> Any:
    """HTTP statuses that say that a call was not taken: a list of them, or a text with commas between them."""
    parts = value.split(",") if isinstance(value, str) else value
    try:
        statuses = frozenset(int(part) for part in parts)
    except (TypeError, ValueError):
        statuses = frozenset({0})
    if not all(400 <= status <= 599 for status in statuses):
        raise ValueError("name HTTP statuses from 400 to 599, like 429,503; any other may mean that the call was taken")
    return statuses


def read_zone(name: Any) -> ZoneInfo:
    try:
        return ZoneInfo(str(name))
    except (ZoneInfoNotFoundError, ValueError) as error:
        raise ValueError(f"{name!r} is not a time zone; write one like Asia/Shanghai") from error

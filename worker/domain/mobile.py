"""Mainland mobile numbers: the usual ways to write them, and the eleven digits that the gateway takes.

The rule is that of the numbering plan: 1, then 3 to 9, then nine digits (MIIT, 电信网编号计划). We tried the well-known
library phonenumbers and do not use it. Its table of mainland prefixes lags: it refuses 149, which China Telecom gives
to people. And it reads letters as keypad digits: `15661abc037` becomes another person's number.
"""

import re
import unicodedata
from enum import StrEnum


class MobileFault(StrEnum):
    """Why a text is not a mainland mobile. The value is the sentence for people."""

    EMPTY = "is empty"
    CHARACTERS = "has letters or other characters that no number has"
    LANDLINE = "is a landline"
    FOREIGN = "is not a number of the mainland"
    TOO_SHORT = "is too short: a mobile has 11 digits"
    TOO_LONG = "is too long: a mobile has 11 digits"
    PREFIX = "starts with a prefix that no mobile has: they start with 13 to 19"


class NotAMobile(ValueError):
    """The text is not a mainland mobile; `fault` says why."""

    def __init__(self, fault: MobileFault) -> None:
        super().__init__(fault.value)
        self.fault = fault


_MOBILE = re.compile(r"1[3-9][0-9]{9}")
_SEPARATORS = re.compile(r"[\s\-‐-―−().]+")
_COUNTRY = re.compile(r"(?:\+|00)86|86(?=1[0-9]{10}$)")


def is_mobile(text: str) -> bool:
    """Whether the text is a mainland mobile as the gateway takes it: eleven digits."""
    return _MOBILE.fullmatch(text) is not None


def normalise(text: str) -> str:
    """The eleven digits of a mainland mobile. The text may have +86, 0086, 86, spaces, hyphens and full-width digits.

    Raises NotAMobile with the reason.
    """
    if _MOBILE.fullmatch(text):
        return text
    digits = _SEPARATORS.sub("", unicodedata.normalize("NFKC", text))
    if country := _COUNTRY.match(digits):
        digits = digits[country.end() :]
    if _MOBILE.fullmatch(digits):
        return digits
    raise NotAMobile(_fault(digits))


def _fault(digits: str) -> MobileFault:
    if not digits:
        return MobileFault.EMPTY
    if not re.fullmatch(r"\+?[0-9]+", digits):
        return MobileFault.CHARACTERS
    if digits.startswith(("+", "00")):
        return MobileFault.FOREIGN
    if digits.startswith("0") and len(digits) in (10, 11, 12):
        return MobileFault.LANDLINE
    if len(digits) != 11:
        return MobileFault.TOO_SHORT if len(digits) < 11 else MobileFault.TOO_LONG
    return MobileFault.PREFIX


def mask(mobile: str) -> str:
    """The number as logs may show it: `138****8000`."""
    return f"{mobile[:3]}****{mobile[-4:]}" if len(mobile) >= 11 else "****"

"""The text that a person sees of a cell, from what is stored of it and the format of its number."""

import re
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from decimal import ROUND_HALF_UP, Decimal
from functools import cache

from openpyxl.styles.numbers import is_date_format, is_timedelta_format
from openpyxl.utils.datetime import from_excel, from_ISO8601

_FORMAT = re.compile(r"(#,##)?(0+)(?:\.(0+))?(%)?")
_NUMBERED = 10_000_000_000
"""A whole number from here on is the number of something, such as a mobile, and no amount: it has no decimals, whatever its format."""

_NO_MOMENT = "#VALUE!"
"""What Excel shows of a number that its format has for a moment, and that is none."""


@dataclass(frozen=True, slots=True)
class _Format:
    spec: str
    decimals: int
    percent: bool


def number_text(stored: str, number_format: str, epoch: datetime) -> str:
    """What a number shows, or the moment that it stands for; without the finer points of its format, such as a currency."""
    value = float(stored) if any(char in stored for char in ".Ee") else int(stored)
    if not _is_moment(number_format):
        return _number(value, _shown(number_format))
    try:
        return _moment(from_excel(value, epoch, timedelta=is_timedelta_format(number_format)))
    except (OverflowError, ValueError):
        return _NO_MOMENT


def moment_text(stored: str) -> str:
    """What a moment shows that is stored in ISO 8601."""
    return _moment(from_ISO8601(stored))  # type: ignore[no-untyped-call]  # has no type hints


def boolean_text(stored: str) -> str:
    """What true and false show."""
    return "TRUE" if stored in ("1", "true") else "FALSE"


def _moment(value: date | time | timedelta | None) -> str:
    """A day that has no time of day is kept as its midnight."""
    match value:
        case datetime() if value.time() != time():
            return value.isoformat(" ", "seconds" if value.second else "minutes")
        case datetime():
            return value.date().isoformat()
        case date() | time():
            return value.isoformat()
    return str(value)


def _number(value: float, shown: _Format | None) -> str:
    whole = value == int(value)
    # The fifteen digits that Excel shows of what it calculates with.
    exact = Decimal(int(value)) if whole else Decimal(f"{value:.15g}")
    if shown is None or (whole and abs(value) >= _NUMBERED):
        return f"{exact:f}"
    exact = (exact * 100 if shown.percent else exact).quantize(Decimal(1).scaleb(-shown.decimals), ROUND_HALF_UP)
    return f"{exact:{shown.spec}}{'%' if shown.percent else ''}"


@cache
def _is_moment(number_format: str) -> bool:
    return is_date_format(number_format)


@cache
def _shown(number_format: str) -> _Format | None:
    """The format of a number as Python has it; None where it says nothing of digits, or more than that."""
    found = _FORMAT.fullmatch(number_format)
    if not found:
        return None
    thousands, whole, decimals, percent = found.groups(default="")
    width = len(whole) + len(decimals) + bool(decimals)
    return _Format(f"0{width}{',' if thousands else ''}.{len(decimals)}f", len(decimals), bool(percent))

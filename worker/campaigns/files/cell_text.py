"""The text that a person sees in a cell, from what is stored and the format of its number."""

import re
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from decimal import ROUND_HALF_UP, Decimal
from functools import cache

from openpyxl.styles.numbers import is_date_format, is_timedelta_format
from openpyxl.utils.datetime import from_excel, from_ISO8601

_FORMAT = re.compile(r"(#,##)?(0+)(?:\.(0+))?(%)?")
_NUMBERED = 10_000_000_000
"""A whole number from here on is the number of something, such as a mobile, and not an amount.

It has no decimals, whatever its format.
"""

_NO_MOMENT = "#VALUE!"
"""What Excel shows for a number that has the format of a time, and is not a time."""


@dataclass(frozen=True, slots=True)
class _Format:
    spec: str
    decimals: int
    percent: bool


def number_text(stored: str, number_format: str, epoch: datetime) -> str:
    """Returns what a number shows, or the time that it stands for.

    Details of its format, such as a currency, are left out.
    """
    value = float(stored) if any(char in stored for char in ".Ee") else int(stored)
    if not _is_moment(number_format):
        return _number(value, _shown(number_format))
    try:
        return _moment(from_excel(value, epoch, timedelta=is_timedelta_format(number_format)))
    except (OverflowError, ValueError):
        return _NO_MOMENT


def moment_text(stored: str) -> str:
    """Returns what a time shows that is stored in ISO 8601."""
    return _moment(from_ISO8601(stored))  # type: ignore[no-untyped-call]  # has no type hints


def boolean_text(stored: str) -> str:
    """Returns what true and false show."""
    return "TRUE" if stored in ("1", "true") else "FALSE"


def _moment(value: date | time | timedelta | None) -> str:
    """A date without a time of day is stored as its midnight."""
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
    """Returns the format of a number in Python's form. None where the format has no digits, or more than digits."""
    match = _FORMAT.fullmatch(number_format)
    if not match:
        return None
    thousands, whole, decimals, percent = match.groups(default="")
    width = len(whole) + len(decimals) + bool(decimals)
    return _Format(f"0{width}{',' if thousands else ''}.{len(decimals)}f", len(decimals), bool(percent))

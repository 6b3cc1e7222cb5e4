"""The filters of templates, and the Jinja environment that has these filters and nothing else."""

from collections.abc import Callable
from functools import partial
from math import isfinite
from typing import Any

from jinja2 import StrictUndefined
from jinja2.sandbox import ImmutableSandboxedEnvironment

from worker.campaigns.template.faults import RowRefused
from worker.domain.text import MAX_UNITS

MAX_REPLACED = 10 * MAX_UNITS
"""Characters that |replace may make. Several of them, one after the other, could make any number."""

FILLED = "filled"
"""The filter that refuses what is empty. Every {{ }} has it, and no template can name it."""


def _filled(value: object, reason: str) -> str:
    """The value as a part of a text. It refuses the row for nothing, and for what is neither a word nor a number."""
    text = str(value) if isinstance(value, str | int | float) and not isinstance(value, bool) else ""
    if not text.strip():
        raise RowRefused(reason)
    return text


def _default(value: object, other: object) -> object:
    return value or other


def _replace(value: object, old: object, new: object) -> str:
    text, old, new = str(value), str(old), str(new)
    if len(text) + text.count(old) * len(new) > MAX_REPLACED:
        raise RowRefused("|replace would make its text far too long")
    return text.replace(old, new)


def _number(kind: type[int] | type[float], value: Any, reason: str) -> int | float:
    try:
        number = kind(value)
        if isfinite(number):
            return number
    except (ValueError, OverflowError) as error:
        raise RowRefused(reason) from error
    raise RowRefused(reason)


FILTERS: dict[str, Callable[..., object]] = {
    "default": _default,
    "float": partial(_number, float),
    "int": partial(_number, int),
    "lower": lambda value: str(value).lower(),
    "replace": _replace,
    "trim": lambda value: str(value).strip(),
    "upper": lambda value: str(value).upper(),
}
NUMBERS = {"float": "number", "int": "whole number"}
"""The filters that a value may not fit, and what the value should be."""


def _environment() -> ImmutableSandboxedEnvironment:
    environment = ImmutableSandboxedEnvironment(undefined=StrictUndefined, autoescape=False, keep_trailing_newline=True)
    environment.globals.clear()
    environment.tests.clear()
    environment.filters = {**FILTERS, FILLED: _filled}
    return environment


ENVIRONMENT = _environment()

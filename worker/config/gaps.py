"""What is missing from the settings or wrong with them, as data and in words."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from pydantic import ValidationError
from pydantic_core import ErrorDetails


@dataclass(frozen=True, slots=True)
class Gap:
    """One thing that is missing or wrong.

    `name` is the setting, `text` a sentence that names it and says what to do.
    """

    name: str
    text: str


class ConfigError(ValueError):
    """Settings are missing or wrong. `gaps` has all of them; the text lists them, one on each line."""

    def __init__(self, gaps: Sequence[Gap]) -> None:
        super().__init__(
            "these settings are missing or wrong; correct them and start again:\n"
            + "\n".join(f"  - {gap.text}" for gap in gaps)
        )
        self.gaps = tuple(gaps)


_SENTENCES = {
    "missing": "is missing",
    "float_parsing": "write a number, like 50 or 0.5",
    "int_parsing": "write a whole number",
    "int_from_float": "write a whole number",
    "bool_parsing": "write true or false",
}
"""What to say instead of pydantic's words, by the type of its fault."""
_SHOULD = re.compile("^(Input|String|List|Dictionary) should\\b")
"""How pydantic's words begin where we keep the rest of them."""


def details(error: ValidationError) -> list[ErrorDetails]:
    """The faults that pydantic found, without the values: one may be a secret."""
    return error.errors(include_input=False, include_url=False)


def sentence(fault: ErrorDetails) -> str:
    """What is wrong with a value, and how to write it. The name of the setting stands before it."""
    message = fault["msg"].removeprefix("Value error, ")
    return _SENTENCES.get(fault["type"]) or _SHOULD.sub("must", message)

"""What is missing from the settings or wrong with them, as data and in words."""

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


def details(error: ValidationError) -> list[ErrorDetails]:
    """The faults that pydantic found, without the values: one may be a secret."""
    return error.errors(include_input=False, include_url=False)

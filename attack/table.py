"""An attack, and its result."""

from collections.abc import Callable
from typing import NamedTuple

from worker.devstack.stack import Stack


class Result(NamedTuple):
    """Whether an attack was held, None if it could not be tried; and what was seen, in a few words."""

    held: bool | None
    seen: str


class Attack(NamedTuple):
    """An attack: its row in the report, its name, and the function that tries it."""

    row: int
    name: str
    attempt: Callable[[Stack], Result]


def counted(held: int, attempts: int, what: str) -> Result:
    """The result of many attempts, held if all of them were."""
    return Result(held == attempts, f"{held} of {attempts} {what}")

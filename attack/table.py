"""What the attacks are, each with what came of it."""

from collections.abc import Callable
from typing import NamedTuple

from worker.devstack.stack import Stack


class Seen(NamedTuple):
    """What came of an attack: whether it was held, None where it could not be tried; and what was seen, in a few words."""

    held: bool | None
    what: str


class Attack(NamedTuple):
    """The number of a row, what is tried, and the function that tries it."""

    row: int
    what: str
    tried: Callable[[Stack], Seen]


def counted(held: int, of: int, what: str) -> Seen:
    """What came of many attempts."""
    return Seen(held == of, f"{held} of {of} {what}")

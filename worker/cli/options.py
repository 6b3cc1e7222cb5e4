"""The options that several commands have, and how their texts are read."""

import re
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Annotated

import typer

from worker.domain.lane import LANES

_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


def moment(text: str) -> datetime:
    """A time, as an age (90s, 30m, 1h, 7d) or as ISO 8601 (UTC, unless it says otherwise)."""
    if age := re.fullmatch(r"(\d{1,5})([smhd])", text):
        return datetime.now(UTC) - timedelta(**{_UNITS[age[2]]: int(age[1])})
    try:
        time = datetime.fromisoformat(text)
        return time.astimezone(UTC) if time.tzinfo else time.replace(tzinfo=UTC)
    except (ValueError, OverflowError):
        raise typer.BadParameter(
            f"{text!r} is neither an age such as 90s, 30m, 1h, 7d nor a time in ISO 8601"
        ) from None


def split_mobiles(texts: Iterable[str]) -> list[str]:
    """The mobiles in texts that have commas between them."""
    return [mobile for text in texts for mobile in re.split("[,，]", text)]


# The names come from the domain, so that they are in one place; mypy cannot see them.
Lane = StrEnum("Lane", {name: name for name in LANES})  # type: ignore[misc]
NOTICE = Lane("notice")
Since = Annotated[
    datetime | None,
    typer.Option(parser=moment, metavar="AGE|TIME", help="Only since that time: 30m, 1h, 7d, or ISO 8601."),
]
Limit = Annotated[int, typer.Option(min=1, max=1000, help="How many at most.")]
OnlyLane = Annotated[Lane | None, typer.Option(help="Only of this lane.")]
OnlyAccount = Annotated[str | None, typer.Option(help="Only of this account.")]
Column = Annotated[str | None, typer.Option(help="The column that has the mobiles, if it is not found.")]
Sheet = Annotated[str | None, typer.Option(help="The sheet of a workbook, if it is not the first.")]

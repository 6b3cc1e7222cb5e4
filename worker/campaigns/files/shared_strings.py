"""The texts of an Excel workbook: collected from its elements, and those that cells share, by number."""

from array import array
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from worker.campaigns.files.xml_stream import named
from worker.domain.campaigns.audience import MAX_ROW, NoAudience

MAX_TEXTS = 10_000_000
MAX_TEXTS_SIZE = 256 << 20
"""Bytes of the texts that cells share, which are in memory: a million rows with 250 bytes each that are in no other row."""


class SharedTexts:
    """Texts by their numbers, one after the other in one piece of memory: a million strings would be three times as much."""

    def __init__(self) -> None:
        self._ends = array("I")
        self._texts = bytearray()

    def __getitem__(self, number: int) -> str:
        if number < 0:
            raise IndexError(number)
        return self._texts[self._ends[number - 1] if number else 0 : self._ends[number]].decode()

    def add(self, text: str) -> None:
        """Raises NoAudience where there are too many."""
        if len(self._ends) == MAX_TEXTS or len(self._texts) > MAX_TEXTS_SIZE:
            raise NoAudience(
                f"has more than {MAX_TEXTS:,} texts, or {MAX_TEXTS_SIZE >> 20} MiB of them, in its sheets; save the one that you"
                " need as CSV"
            )
        self._texts += text.encode()
        self._ends.append(len(self._texts))


@dataclass(slots=True)
class Collected:
    """The text of what is being read: nothing outside of it, and no more than makes a row too long to be sent to."""

    inside: bool = False
    room: int = MAX_ROW + 1
    pieces: list[str] = field(default_factory=list)

    def begin(self, *_: object) -> None:
        self.inside = True

    def end(self) -> None:
        self.inside = False

    def add(self, text: str) -> None:
        if self.inside and self.room > 0:
            self.pieces.append(text[: self.room])
            self.room -= len(text)

    def taken(self) -> str:
        """The text, after which there is none."""
        if not self.pieces:
            return ""
        text = "".join(self.pieces)
        self.pieces.clear()
        self.room = MAX_ROW + 1
        return text


def text_handlers(text: Collected) -> tuple[dict[str, Any], dict[str, Any]]:
    """The handlers that collect a text without its pronunciation, which is within it."""
    said = False

    def begin_text(_: dict[str, str]) -> None:
        if not said:
            text.begin()

    def pronunciation(begins: bool) -> Callable[..., None]:
        def change(*_: object) -> None:
            nonlocal said
            said = begins

        return change

    return named({"t": begin_text, "rPh": pronunciation(True)}), named({"t": text.end, "rPh": pronunciation(False)})

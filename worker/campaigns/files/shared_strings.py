"""The texts of an Excel workbook: collected from its elements, and kept by number where cells share them."""

from array import array
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from worker.campaigns.files.archive import Bounds
from worker.campaigns.files.xml_stream import named
from worker.domain.campaigns.audience import MAX_ROW, AudienceError


class SharedTexts:
    """Texts by number, one after the other in one piece of memory: a million strings would take three times as much."""

    def __init__(self, bounds: Bounds) -> None:
        self._bounds = bounds
        self._ends = array("I")
        self._texts = bytearray()

    def __getitem__(self, number: int) -> str:
        if number < 0:
            raise IndexError(number)
        return self._texts[self._ends[number - 1] if number else 0 : self._ends[number]].decode()

    def add(self, text: str) -> None:
        """Raises AudienceError where there are too many."""
        if len(self._ends) == self._bounds.texts or len(self._texts) > self._bounds.texts_size:
            raise AudienceError(
                f"has more than {self._bounds.texts:,} texts, or {self._bounds.texts_size >> 20} MiB of them, in its sheets; save the one that you"
                " need as CSV"
            )
        self._texts += text.encode()
        self._ends.append(len(self._texts))


@dataclass(slots=True)
class TextCollector:
    """Collects the text of the element being read, up to the length that makes a row too long to be sent to."""

    is_inside: bool = False
    room: int = MAX_ROW + 1
    pieces: list[str] = field(default_factory=list)

    def start(self, *_: object) -> None:
        self.is_inside = True

    def stop(self) -> None:
        self.is_inside = False

    def add(self, text: str) -> None:
        if self.is_inside and self.room > 0:
            self.pieces.append(text[: self.room])
            self.room -= len(text)

    def take(self) -> str:
        """Returns the text collected so far, and forgets it."""
        if not self.pieces:
            return ""
        text = "".join(self.pieces)
        self.pieces.clear()
        self.room = MAX_ROW + 1
        return text


def text_handlers(text: TextCollector) -> tuple[dict[str, Any], dict[str, Any]]:
    """Returns the handlers, at start and end tags, that collect a text without the pronunciation within it."""
    in_pronunciation = False

    def start_text(_: dict[str, str]) -> None:
        if not in_pronunciation:
            text.start()

    def pronunciation(starts: bool) -> Callable[..., None]:
        def change(*_: object) -> None:
            nonlocal in_pronunciation
            in_pronunciation = starts

        return change

    at_start = named({"t": start_text, "rPh": pronunciation(True)})
    at_end = named({"t": text.stop, "rPh": pronunciation(False)})
    return at_start, at_end

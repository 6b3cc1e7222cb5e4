"""The rows of a sheet of an Excel workbook (.xlsx), its cells as the text that a person sees.

The file is untrusted. Its cost is bounded by count and by size while it unpacks.
"""

import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import BinaryIO
from xml.parsers.expat import ExpatError
from zipfile import BadZipFile

from openpyxl.utils import column_index_from_string

from worker.campaigns.files.archive import BOUNDS, Bounds, Budget, open_archive
from worker.campaigns.files.cell_text import boolean_text, moment_text, number_text
from worker.campaigns.files.shared_strings import TextCollector, text_handlers
from worker.campaigns.files.workbook import SHOWN_SHEETS, Workbook, read_workbook
from worker.campaigns.files.xml_stream import named, parse
from worker.domain.campaigns.audience import AudienceError, Row

MAX_SHEET_ROWS = 1 << 20
MAX_SHEET_COLUMNS = 1 << 14
"""Rows and columns of a sheet, as Excel has it."""
MAX_ROW_SIZE = 1 << 18
"""Characters of a row before it is checked.

A row with far fewer is left out by itself (`domain.campaigns.audience.MAX_ROW`).
"""

# What the parsers raise for a file that is not a workbook, or a broken or hostile one.
_BROKEN = (
    ArithmeticError,
    BadZipFile,
    EOFError,
    ExpatError,
    LookupError,
    NotImplementedError,
    RuntimeError,
    ValueError,
    zlib.error,
)


def sheet_rows(file: BinaryIO, sheet: str | None, bounds: Bounds = BOUNDS) -> Iterator[Row]:
    """Yields each row of that sheet, or of the first sheet, with its number.

    Raises AudienceError where the file is not a workbook, has no such sheet, or has too much in it.
    """
    try:
        archive = open_archive(file, bounds)
        workbook = read_workbook(archive)
        part = _part(workbook, sheet)
        reader = _Reader(workbook, archive.budget)
        at_start, at_end = text_handlers(reader.text)
        at_start |= named({"row": reader.start_row, "c": reader.start_cell, "v": reader.start_value})
        at_end |= named({"row": reader.end_row, "c": reader.end_cell, "v": reader.text.stop})
        for _ in parse(archive.blocks(part), at_start, at_end, reader.text.add):
            yield from reader.rows
            reader.rows.clear()
    except AudienceError:
        raise
    except _BROKEN as error:
        raise AudienceError(
            f"is not an Excel workbook that can be read ({error!r}); save it anew as .xlsx, or as CSV"
        ) from error


def _part(workbook: Workbook, name: str | None) -> str:
    sheets = workbook.sheets
    if name is None and sheets:
        return next(iter(sheets.values()))
    if name in sheets:
        return sheets[name]
    if not sheets:
        raise AudienceError("has no sheet")
    names = ", ".join(list(sheets)[:SHOWN_SHEETS]) + (" …" if len(sheets) > SHOWN_SHEETS else "")
    raise AudienceError(f"has no sheet {name!r}; give --sheet one of: {names}")


@dataclass(slots=True)
class _Reader:
    """Makes rows of the elements of a sheet. A row is in `rows` as soon as it has ended."""

    workbook: Workbook
    budget: Budget
    text: TextCollector = field(default_factory=TextCollector)
    rows: list[Row] = field(default_factory=list)
    line: int = 0
    values: list[str] = field(default_factory=list)
    cells: int = 0
    size: int = 0
    column: int = 0
    kind: str = "n"
    style: int = 0

    def start_row(self, attributes: dict[str, str]) -> None:
        # Some programs write 2.0.
        number = float(attributes.get("r", self.line + 1))
        if not (number.is_integer() and self.line < number <= MAX_SHEET_ROWS):
            raise ValueError(f"after row {self.line} comes row {attributes.get('r', self.line + 1)}")
        self.line = int(number)
        self.values = []
        self.cells = self.size = self.column = 0

    def start_cell(self, attributes: dict[str, str]) -> None:
        self.cells += 1
        place = attributes.get("r")
        self.column = column_index_from_string(place.rstrip("0123456789")) if place else self.column + 1
        if max(self.column, self.cells) > MAX_SHEET_COLUMNS:
            raise AudienceError(
                f"has more than {MAX_SHEET_COLUMNS:,} cells in row {self.line:,}; save its sheet as CSV"
            )
        self.kind = attributes.get("t", "n")
        self.style = int(attributes.get("s") or 0)
        self.text.take()

    def start_value(self, _: dict[str, str]) -> None:
        # A value beside an inline text is not shown.
        if self.kind != "inlineStr":
            self.text.start()

    def end_cell(self) -> None:
        shown = self._shown(self.text.take())
        if not shown:
            return
        self.size += len(shown)
        if self.size > MAX_ROW_SIZE:
            raise AudienceError(
                f"has more than {MAX_ROW_SIZE:,} characters in row {self.line:,}, which is not a person; remove that row, or"
                " columns that no text needs"
            )
        if self.column <= len(self.values):
            self.values[self.column - 1] = shown
        else:
            self.values += [""] * (self.column - 1 - len(self.values))
            self.values.append(shown)

    def end_row(self) -> None:
        self.rows.append((self.line, self.values))

    def _shown(self, stored: str) -> str:
        if not stored:
            return ""
        match self.kind:
            case "n":
                formats = self.workbook.formats
                number_format = formats[self.style] if 0 <= self.style < len(formats) else "General"
                return number_text(stored, number_format, self.workbook.epoch)
            case "s":
                text = self.workbook.texts[int(stored)]
                # One text in the file may be in a million cells.
                self.budget.spend(len(text))
                return text
            case "b":
                return boolean_text(stored)
            case "d":
                return moment_text(stored)
        return stored

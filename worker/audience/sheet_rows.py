"""The rows of a sheet of an Excel workbook (.xlsx), its cells as the text that a person sees."""

import re
import warnings
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime, time
from decimal import ROUND_HALF_UP, Decimal
from functools import cache
from typing import Any, BinaryIO
from zipfile import BadZipFile, ZipFile

from openpyxl import load_workbook
from openpyxl.cell.read_only import ReadOnlyCell
from openpyxl.worksheet._reader import WorkSheetParser

from worker.domain.audience import NoAudience, Row

MAX_WHOLE = 500 << 20
"""Bytes of all that is not a sheet, the texts of the cells above all: openpyxl has it in memory as a whole."""
MAX_FOLD = 100
"""A part that unpacks to more than this many times its packed size is no sheet that anybody filled in; real ones have 5 to 20."""
MAX_ROWS = 1 << 20
"""Rows of a sheet, as Excel has it."""

# What openpyxl and what it works with raise for a file that is no workbook, or a broken or hostile one. What XML may not
# have, entities among it, is a ValueError of defusedxml or a SyntaxError of lxml.
_BROKEN = (
    ArithmeticError,
    AttributeError,
    BadZipFile,
    EOFError,
    LookupError,
    NotImplementedError,
    RuntimeError,
    SyntaxError,
    TypeError,
    ValueError,
    zlib.error,
)

_FORMAT = re.compile(r"(#,##)?(0+)(?:\.(0+))?(%)?")
_NUMBERED = 10_000_000_000
"""A whole number from here on is the number of something, such as a mobile, and no amount: it has no decimals, whatever its format."""


@dataclass(frozen=True, slots=True)
class _Format:
    spec: str
    decimals: int
    percent: bool


def sheet_rows(file: BinaryIO, sheet: str | None) -> Iterator[Row]:
    """Each row of that sheet, or of the first, with its number. Raises NoAudience where there is no workbook or sheet."""
    # It warns of what it leaves out: charts, colours, rules for what may be typed in.
    warnings.filterwarnings("ignore", module=r"openpyxl\.")
    try:
        _check_size(file)
        workbook = load_workbook(file, read_only=True, data_only=True, keep_links=False)
        yield from _rows(_sheet(workbook, sheet))
    except NoAudience:
        raise
    except _BROKEN as why:
        raise NoAudience(f"is no Excel workbook that can be read ({why!r}); save it anew as .xlsx, or as CSV") from why


def _check_size(file: BinaryIO) -> None:
    with ZipFile(file) as archive:
        parts = archive.infolist()
    whole = sum(part.file_size for part in parts if not part.filename.startswith("xl/worksheets/"))
    if whole > MAX_WHOLE or any(part.file_size > MAX_FOLD * max(part.compress_size, 1 << 20) for part in parts):
        raise NoAudience("unpacks to more than any list of people; save its sheet as CSV")


def _sheet(workbook: Any, name: str | None) -> Any:
    sheets = {sheet.title: sheet for sheet in workbook.worksheets}
    if name is None and sheets:
        return next(iter(sheets.values()))
    if name in sheets:
        return sheets[name]
    raise NoAudience(f"has no sheet {name!r}; give --sheet one of: {', '.join(sheets)}" if sheets else "has no sheet")


def _rows(sheet: Any) -> Iterator[Row]:
    """The rows as openpyxl parses them. As it gives them out it keeps what is said of the height of each, a gigabyte for a
    million rows of LibreOffice, and makes up those that a sheet leaves out."""
    workbook, last = sheet.parent, 0
    with sheet._get_source() as source:
        parser = WorkSheetParser(
            source,
            sheet._shared_strings,
            data_only=True,
            epoch=workbook.epoch,
            date_formats=workbook._date_formats,
            timedelta_formats=workbook._timedelta_formats,
        )
        for line, cells in parser.parse():
            parser.row_dimensions.clear()
            if not last < line <= MAX_ROWS:
                raise ValueError(f"after row {last} comes row {line}")
            last = line
            values = [""] * max((cell["column"] for cell in cells), default=0)
            for cell in cells:
                values[cell["column"] - 1] = _text(ReadOnlyCell(sheet, **cell))
            yield line, values


def _text(cell: Any) -> str:
    """What the cell shows; without the finer points of its format, such as a currency."""
    match cell.value:
        case None:
            return ""
        case bool(value):
            return str(value).upper()
        case int(value) | float(value):
            return _number(value, _shown(cell.number_format or ""))
        case datetime() as value:
            return _moment(value)
        case date() | time() as value:
            return value.isoformat()
        case value:
            return str(value)


def _moment(value: datetime) -> str:
    """A day that has no time of day is kept as its midnight."""
    if value.time() == time():
        return value.date().isoformat()
    return value.isoformat(" ", "seconds" if value.second else "minutes")


def _number(value: float, shown: _Format | None) -> str:
    whole = value == int(value)
    # The fifteen digits that Excel shows of what it calculates with.
    exact = Decimal(int(value)) if whole else Decimal(f"{value:.15g}")
    if shown is None or (whole and abs(value) >= _NUMBERED):
        return f"{exact:f}"
    exact = (exact * 100 if shown.percent else exact).quantize(Decimal(1).scaleb(-shown.decimals), ROUND_HALF_UP)
    return f"{exact:{shown.spec}}{'%' if shown.percent else ''}"


@cache
def _shown(number_format: str) -> _Format | None:
    """The format of a number as Python has it; None where it says nothing of digits, or more than that."""
    found = _FORMAT.fullmatch(number_format)
    if not found:
        return None
    thousands, whole, decimals, percent = found.groups(default="")
    width = len(whole) + len(decimals) + bool(decimals)
    return _Format(f"0{width}{',' if thousands else ''}.{len(decimals)}f", len(decimals), bool(percent))

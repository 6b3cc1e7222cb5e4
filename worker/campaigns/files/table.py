"""A file as a table: what kind of file it is, its header, and its rows."""

import os
from collections.abc import Callable, Generator, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import BinaryIO

from worker.campaigns.files.csv_rows import csv_rows
from worker.domain.campaigns.audience import SAMPLE, AudienceError, Row, header_faults, mobile_column

_ZIP = b"PK\x03\x04"
_OLD_EXCEL = bytes.fromhex("D0CF11E0")


@dataclass(frozen=True, slots=True)
class PeopleTable:
    """A table, whose rows can be gone through once, while its file is open.

    `source` is the path of the file. `header` names the columns, `column` is the one with the mobiles. Of `size` bytes
    `read()` have been read.
    """

    source: str
    header: tuple[str, ...]
    column: str
    rows: Iterator[Row]
    size: int
    read: Callable[[], int]


@contextmanager
def open_table(path: Path, *, column: str | None = None, sheet: str | None = None) -> Iterator[PeopleTable]:
    """Opens the table in a CSV file, or in a sheet of an Excel workbook: the first, unless one is named.

    The first bytes tell which kind of file it is. Raises AudienceError where the file cannot be read, is not a table or
    has no such column, also while its rows are gone through.
    """
    with _names_file(path):
        file = path.open("rb")
    with file:
        with _names_file(path):
            rows = _rows(file, sheet)
        # The rows are closed before the file that they read from.
        with closing(rows):
            with _names_file(path):
                header = _header(rows)
                sample = list(islice(rows, SAMPLE))
                if not sample:
                    raise AudienceError("has no row below its header: there is nobody to send to")
                mobiles = mobile_column(header, sample, column)
                size = os.fstat(file.fileno()).st_size
            yield PeopleTable(str(path), header, mobiles, chain(sample, _naming(path, rows)), size, file.tell)


def _rows(file: BinaryIO, sheet: str | None) -> Generator[Row, None, None]:
    """Returns the rows that have anything in them, the header first."""
    begins = file.read(4)
    file.seek(0)
    if begins == _OLD_EXCEL:
        raise AudienceError(
            "is an old Excel file (.xls), or one with a password; save it as .xlsx without one, or as CSV"
        )
    if begins == _ZIP:
        from worker.campaigns.files.sheet_rows import sheet_rows  # noqa: PLC0415 - openpyxl takes longer to load than all the rest

        rows = sheet_rows(file, sheet)
    elif sheet is None:
        rows = csv_rows(file)
    else:
        raise AudienceError("is not an Excel workbook and has no sheets; leave --sheet out")
    return (row for row in rows if any(row[1]))


def _header(rows: Iterator[Row]) -> tuple[str, ...]:
    _, row = next(rows, (0, ()))
    header = [name.strip() for name in row]
    # Spreadsheets keep columns that have a colour and nothing else.
    while header and not header[-1]:
        header.pop()
    if not header:
        raise AudienceError("is empty; its first line must name the columns")
    if faults := header_faults(header):
        raise AudienceError(f"has a header that cannot be used: {'; '.join(faults)}")
    return tuple(header)


@contextmanager
def _names_file(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise AudienceError(
            f"{path} cannot be read: {error.strerror or error}; give the path of a CSV or Excel file"
        ) from error
    except AudienceError as error:
        raise AudienceError(f"{path} {error}") from error


def _naming(path: Path, rows: Iterator[Row]) -> Iterator[Row]:
    with _names_file(path):
        yield from rows

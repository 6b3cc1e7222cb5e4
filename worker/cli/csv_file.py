"""Files that commands write: whole or not there, for their owner alone, and CSV in which a spreadsheet finds no formula."""

import csv
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import IO, Annotated

import typer

from worker.cli.errors import Failed
from worker.cli.output import progress_bar
from worker.domain.formula import as_cell

STDOUT = Path("-")
ToSheet = Annotated[
    Path | None, typer.Option("--csv", metavar="FILE|-", help="Where to write them all as CSV; - is standard output.")
]
FOR_EXCEL = "utf-8-sig"
"""With its mark, for Excel takes UTF-8 without it for something else."""


def cell(value: object) -> str:
    """The value as a spreadsheet is to show it: times in ISO 8601, and text as text, whatever it begins with."""
    if value is None:
        return ""
    if isinstance(value, datetime):
        return value.isoformat()
    return as_cell(str(value))


def write_sheet(path: Path, header: Sequence[str], rows: Iterable[Sequence[object]], *, total: int | None) -> None:
    """Writes the rows, one by one as they come; `total` is how many, where that is known. Raises Failed where the file cannot be written."""
    if path == STDOUT:
        _write(typer.get_text_stream("stdout"), header, rows, total)
        return
    with whole_file(path, "--csv", encoding=FOR_EXCEL) as file:
        _write(file, header, rows, total)


@contextmanager
def noted_in(path: Path | None, option: str, header: Sequence[str]) -> Iterator[Callable[[Sequence[object]], object]]:
    """Writes each row that it is called with, if there is to be a file. Raises Failed where that cannot be written."""
    if path is None:
        yield lambda _: None
        return
    with whole_file(path, option) as file:
        yield _rows_to(file, header)


@contextmanager
def whole_file(path: Path, option: str, *, encoding: str = "utf-8") -> Iterator[IO[str]]:
    """A file that is put in its place once all is written, for its owner alone to read: it tells of people.

    What is there and is no file, such as a pipe, is written to as it is. Raises Failed where it cannot be written.
    """
    try:
        if path.exists() and not path.is_file():
            with path.open("w", encoding=encoding, errors="backslashreplace", newline="") as other:
                yield other
            return
        # Where a link leads: that file is the one that is meant.
        place = path.resolve()
        with NamedTemporaryFile(
            "w", encoding=encoding, errors="backslashreplace", newline="", dir=place.parent, delete=False
        ) as file:
            written = Path(file.name)
            try:
                yield file
                file.close()
                written.replace(place)
            finally:
                with suppress(FileNotFoundError):
                    written.unlink()
    except OSError as why:
        raise Failed(f"{path} cannot be written: {why.strerror}; give {option} another path") from why


def _write(file: IO[str], header: Sequence[str], rows: Iterable[Sequence[object]], total: int | None) -> None:
    write = _rows_to(file, header)
    with progress_bar() as progress:
        for row in progress.track(rows, total=total, description="writing"):
            write(row)


def _rows_to(file: IO[str], header: Sequence[str]) -> Callable[[Sequence[object]], object]:
    writer = csv.writer(file)
    writer.writerow(header)
    return lambda row: writer.writerow([cell(value) for value in row])

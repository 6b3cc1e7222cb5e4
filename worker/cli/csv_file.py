"""Files that commands write: whole or absent, for their owner alone. A spreadsheet finds no formula in their CSV."""

import csv
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import IO, Annotated

import typer

from worker.cli.errors import Failed
from worker.cli.output import progress
from worker.domain.formula import as_cell

STDOUT = Path("-")
ToSheet = Annotated[
    Path | None, typer.Option("--csv", metavar="FILE|-", help="Write all of them as CSV; - is standard output.")
]
FOR_EXCEL = "utf-8-sig"
"""UTF-8 with a mark at its start: without it Excel reads another encoding."""


def cell(value: object) -> str:
    """The value as a spreadsheet shows it: times in ISO 8601, and text as text, whatever it begins with."""
    if value is None:
        return ""
    if isinstance(value, datetime):
        return value.isoformat()
    return as_cell(str(value))


def write_sheet(path: Path, header: Sequence[str], rows: Iterable[Sequence[object]], *, total: int | None) -> None:
    """Writes the rows one by one as they come, `-` to standard output. `total` counts them, where that is known.

    Raises Failed where the file cannot be written.
    """
    if path == STDOUT:
        _write(typer.get_text_stream("stdout"), header, rows, total)
        return
    with whole_file(path, "--csv", encoding=FOR_EXCEL) as file:
        _write(file, header, rows, total)


@contextmanager
def rows_file(path: Path | None, option: str, header: Sequence[str]) -> Iterator[Callable[[Sequence[object]], object]]:
    """Gives a function that writes a row.

    Without a path the function does nothing. Raises Failed where the file cannot be written.
    """
    if path is None:
        yield lambda _: None
        return
    with whole_file(path, option) as file:
        yield _rows_to(file, header)


@contextmanager
def whole_file(path: Path, option: str, *, encoding: str = "utf-8") -> Iterator[IO[str]]:
    """A file that takes its place once it is written whole. Only its owner can read it, for it has mobiles.

    A pipe or a device at the path is written to as it is. Raises Failed where the file cannot be written.
    """
    try:
        if path.exists() and not path.is_file():
            with path.open("w", encoding=encoding, errors="backslashreplace", newline="") as other:
                yield other
            return
        # A link stays a link: the file that it leads to is replaced.
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
    except OSError as error:
        raise Failed(f"{path} cannot be written: {error.strerror}; give {option} another path") from error


def _write(file: IO[str], header: Sequence[str], rows: Iterable[Sequence[object]], total: int | None) -> None:
    write = _rows_to(file, header)
    with progress("writing", total) as advance:
        for row in rows:
            write(row)
            advance(1)


def _rows_to(file: IO[str], header: Sequence[str]) -> Callable[[Sequence[object]], object]:
    writer = csv.writer(file)
    writer.writerow(header)
    return lambda row: writer.writerow([cell(value) for value in row])

"""Files that a campaign is told in: whole or not there, and CSV in which a spreadsheet finds no formula."""

import csv
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import IO, Annotated

import typer
from rich.progress import Progress

from worker.cli.failures import Failed
from worker.cli.output import console

STDOUT = Path("-")
ToSheet = Annotated[
    Path | None, typer.Option("--csv", metavar="FILE|-", help="Where to write them all as CSV; - is standard output.")
]

# How a formula begins (OWASP, CSV injection). A number alone is none.
_FORMULA = re.compile(r"(?![+-]?[0-9]+\Z)[=+\-@\t\r\n＝＋－＠]")


def cell(value: object) -> str:
    """The value as a spreadsheet is to show it: times in ISO 8601, and text as text, whatever it begins with."""
    if value is None:
        return ""
    if isinstance(value, datetime):
        return value.isoformat()
    text = str(value)
    return f"'{text}" if _FORMULA.match(text) else text


def write_sheet(path: Path, header: Sequence[str], rows: Iterable[Sequence[object]], *, total: int | None) -> None:
    """Writes the rows, one by one as they come; `total` is how many, where that is known. Raises Failed where the file cannot be written."""
    if path == STDOUT:
        _write(typer.get_text_stream("stdout"), header, rows, total)
        return
    # With its mark, for Excel takes UTF-8 without it for something else.
    with whole_file(path, "--csv", encoding="utf-8-sig") as file:
        _write(file, header, rows, total)


@contextmanager
def whole_file(path: Path, option: str, *, encoding: str = "utf-8") -> Iterator[IO[str]]:
    """A file that is put in its place once all is written, for its owner alone to read: it tells of people.

    Raises Failed where it cannot be written.
    """
    try:
        with NamedTemporaryFile("w", encoding=encoding, newline="", dir=path.parent, delete=False) as file:
            written = Path(file.name)
            try:
                yield file
                file.close()
                written.replace(path)
            finally:
                with suppress(FileNotFoundError):
                    written.unlink()
    except OSError as why:
        raise Failed(f"{path} cannot be written: {why.strerror}; give {option} another path") from why


def _write(file: IO[str], header: Sequence[str], rows: Iterable[Sequence[object]], total: int | None) -> None:
    writer = csv.writer(file)
    writer.writerow(header)
    screen = console(stderr=True)
    with Progress(console=screen, disable=not screen.is_terminal, transient=True) as progress:
        for row in progress.track(rows, total=total, description="writing"):
            writer.writerow([cell(value) for value in row])

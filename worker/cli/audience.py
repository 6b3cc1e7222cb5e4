"""A column of a CSV file as people export it: who can be sent to, and who cannot and why."""

import csv
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from worker.cli.failures import Failed
from worker.domain.mobile import MobileFault, NotAMobile, normalise

ENCODINGS = ("utf-8-sig", "gb18030")
"""Tried in this order; with a BOM or without. Excel in China writes GBK, which the second reads."""
EXAMPLES = 3
BLOCK = 1 << 20


@dataclass(frozen=True, slots=True)
class Refusal:
    """A row that no message can go to. `line` is where it begins in the file, `reason` a sentence."""

    line: int
    value: str
    reason: str


@dataclass(slots=True)
class Audience:
    """The good mobiles, each once and with the line it was first on, in the order of the file; of the others the counts by
    reason and the first few."""

    mobiles: dict[str, int] = field(default_factory=dict)
    refused: Counter[MobileFault] = field(default_factory=Counter)
    repeats: int = 0
    examples: dict[str, list[Refusal]] = field(default_factory=dict)

    def example(self, kind: str, refusal: Refusal) -> None:
        """Keeps it if it is one of the first of its kind."""
        kept = self.examples.setdefault(kind, [])
        if len(kept) < EXAMPLES:
            kept.append(refusal)


REPEAT = "is a repeat of an earlier number"


def read_audience(rows: Iterable[tuple[int, str]], refuse: Callable[[Refusal], object]) -> Audience:
    """Sorts the rows (line and value) out, one at a time; `refuse` is handed each that is refused."""
    audience = Audience()
    for line, value in rows:
        try:
            mobile = normalise(value)
        except NotAMobile as why:
            refusal = Refusal(line, value, why.fault)
            audience.refused[why.fault] += 1
            audience.example(why.fault, refusal)
            refuse(refusal)
            continue
        if audience.mobiles.setdefault(mobile, line) != line:
            audience.repeats += 1
            audience.example(REPEAT, Refusal(line, value, f"is on line {audience.mobiles[mobile]} already"))
    return audience


def values(path: Path, column: str) -> Iterator[tuple[int, str]]:
    """Each row's line, and what it has in the column. Raises Failed where there is no such file or column."""
    try:
        with path.open(encoding=_encoding(path), newline="") as file:
            rows = csv.reader(file)
            names = [name.strip() for name in next(rows, [])]
            if not names:
                raise Failed(f"{path} is empty; its first line must name the columns")
            if column not in names:
                raise Failed(f"{path} has no column {column!r}; give --column one of: {', '.join(names)}")
            position, line = names.index(column), rows.line_num + 1
            for row in rows:
                if row:
                    yield line, row[position] if position < len(row) else ""
                line = rows.line_num + 1
    except OSError as why:
        raise Failed(f"{path} cannot be read: {why.strerror}; give --to-file the path of a CSV file") from why
    except csv.Error as why:
        raise Failed(f"{path} is no CSV file: {why}; export it as CSV") from why


def _encoding(path: Path) -> str:
    """The encoding that the whole file can be read in: only the whole tells GB18030 from UTF-8."""
    for encoding in ENCODINGS:
        try:
            with path.open(encoding=encoding) as file:
                while block := file.read(BLOCK):
                    if "\0" in block:
                        raise Failed(f"{path} is no CSV file: it is no text; export it as CSV, UTF-8")
        except UnicodeDecodeError:
            continue
        return encoding
    raise Failed(f"{path} is no CSV file: it is neither UTF-8 nor GB18030 text; export it as CSV, UTF-8")

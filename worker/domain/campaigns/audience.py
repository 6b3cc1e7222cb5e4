"""An audience: a table of people to send to.

Rules say which column has the mobiles, and which rows cannot be sent to, and why.
"""

import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from worker.domain.mobile import MobileFault, NotAMobile, normalise

MAX_ROW = 10_000
"""The most characters of a row's values. A longer row is not a person, and the bound limits the memory of many rows."""
MAX_COLUMNS = 1000
"""Each row that is kept has a value for every column."""

EXAMPLES = 3
SAMPLE = 100
"""This many rows show which column has the mobiles, where no name says so."""

_NAMES = frozenset({
    "mobile", "mobiles", "mobileno", "mobilenumber", "mobilephone", "msisdn", "phone", "phones", "phoneno", "phonenumber",
    "cell", "cellphone", "tel", "telephone", "手机", "手机号", "手机号码", "手機", "手機號", "手機號碼", "移动电话", "联系手机",
    "电话", "电话号码", "電話", "電話號碼", "联系电话", "号码", "號碼",
})  # fmt: skip

Row = tuple[int, Sequence[str]]
"""The line on which a row begins, and its value in each column."""


@dataclass(frozen=True, slots=True)
class Audience:
    """An audience. `source` is the file that it came from, `mobile_column` the column of `header` with the mobiles."""

    id: int
    name: str
    source: str
    header: tuple[str, ...]
    mobile_column: str
    ready: bool
    good: int
    repeats: int
    refused: int
    created_at: datetime
    created_by: str


@dataclass(frozen=True, slots=True)
class Origin:
    """Where an audience came from: the file, the names of its columns, and the column with the mobiles."""

    source: str
    header: tuple[str, ...]
    mobile_column: str


@dataclass(frozen=True, slots=True)
class Member:
    """A member of an audience: the line on which the row begins, and the row's values in the audience's columns."""

    line: int
    mobile: str
    fields: tuple[str, ...]


class AudienceError(ValueError):
    """A file or a name cannot make an audience. The text says what is wrong, where, and what to do."""


class NobodyLeft(AudienceError):
    """A file was read to its end, and none of its rows can be sent to."""


class RowFault(StrEnum):
    """Why a row is left out, whatever its mobile. The value is the sentence for people."""

    SURPLUS = "is in a row with more values than there are columns"
    LONG = f"is in a row of more than {MAX_ROW:,} characters"
    REPEAT = "is a repeat of an earlier number"


@dataclass(frozen=True, slots=True)
class Refusal:
    """A row that is left out. `value` stands in its column of mobiles, `reason` is a sentence on it."""

    line: int
    value: str
    fault: MobileFault | RowFault
    reason: str


@dataclass(slots=True)
class RowsLeftOut:
    """Counts the rows that are left out by reason, and keeps the first few of each. `tell` is called with every row."""

    tell: Callable[[Refusal], object] = lambda _: None
    counts: Counter[MobileFault | RowFault] = field(default_factory=Counter)
    examples: dict[MobileFault | RowFault, list[Refusal]] = field(default_factory=dict)

    def add(self, refusal: Refusal) -> None:
        """Counts the row, tells it, and keeps it if it is one of the first for its reason."""
        self.tell(refusal)
        self.counts[refusal.fault] += 1
        kept = self.examples.setdefault(refusal.fault, [])
        if len(kept) < EXAMPLES:
            kept.append(refusal)

    @property
    def repeats(self) -> int:
        return self.counts[RowFault.REPEAT]

    @property
    def refused(self) -> Counter[MobileFault | RowFault]:
        """The rows that are not repeats."""
        return Counter({fault: count for fault, count in self.counts.items() if fault is not RowFault.REPEAT})


def repeat(line: int, value: str, earlier: int) -> Refusal:
    """Returns the refusal of a row whose mobile is on an earlier line."""
    return Refusal(line, value, RowFault.REPEAT, f"is on line {earlier} already")


def header_faults(header: Sequence[str]) -> list[str]:
    """Returns what is wrong with the names of the columns, in words."""
    if len(header) > MAX_COLUMNS:
        return [f"it has {len(header):,} columns, and {MAX_COLUMNS:,} are the most; remove those that no text needs"]
    faults = []
    if mobiles := [name for name in header if _is_mobile(name)]:
        faults.append(f"its first line has a mobile, {mobiles[0]}, and no names; put the names of the columns above it")
    faults += [
        f"column {number} has no name; give it one, or remove it" for number, name in enumerate(header, 1) if not name
    ]
    faults += [
        f"{count} columns have the name {name!r}; rename or remove all but one"
        for name, count in Counter(header).items()
        if name and count > 1
    ]
    return faults


def mobile_column(header: Sequence[str], sample: Sequence[Row], wanted: str | None) -> str:
    """Returns the column with the mobiles: the one wanted, or the one whose name says so, or the one whose rows have
    mobiles.

    Raises AudienceError where there is no such column, or where there are several.
    """
    names = ", ".join(header)
    if wanted is not None:
        if wanted in header:
            return wanted
        raise AudienceError(f"has no column {wanted!r}; give --column one of: {names}")
    named = [name for name in header if _folded(name) in _NAMES]
    if len(named) == 1:
        return named[0]
    shown = [name for name in named or header if _shows_mobiles(header.index(name), sample)]
    if len(shown) == 1:
        return shown[0]
    if shown or named:
        raise AudienceError(f"may have its mobiles in {' or '.join(shown or named)}; say which with --column")
    raise AudienceError(f"shows no column of mobiles; give --column one of: {names}")


def good_rows(
    rows: Iterable[Row], width: int, position: int, refuse: Callable[[Refusal], object]
) -> Iterator[tuple[int, str, Sequence[str]]]:
    """Yields the rows with a mobile at that position: line, mobile, and a value for each of `width` columns.

    `refuse` is called with each of the others. The caller finds the repeats.
    """
    for line, row in rows:
        values = row if len(row) == width else _fitted(row, width)
        written = values[position]
        if len(values) > width:
            refuse(_refusal(line, written, RowFault.SURPLUS))
        elif sum(map(len, values)) > MAX_ROW:
            refuse(_refusal(line, written[:MAX_ROW], RowFault.LONG))
        else:
            try:
                yield line, normalise(written), values
            except NotAMobile as error:
                refuse(_refusal(line, written, error.fault))


def _fitted(row: Sequence[str], width: int) -> Sequence[str]:
    """The row without surplus empty values at its end, or filled up with empty ones. No value is cut off."""
    values = list(row)
    while len(values) > width and not values[-1]:
        values.pop()
    return values + [""] * (width - len(values))


def _refusal(line: int, value: str, fault: MobileFault | RowFault) -> Refusal:
    return Refusal(line, value, fault, fault.value)


def _folded(name: str) -> str:
    return "".join(char for char in unicodedata.normalize("NFKC", name).casefold() if char.isalnum())


def _shows_mobiles(position: int, sample: Sequence[Row]) -> bool:
    written = [row[position] for _, row in sample if position < len(row) and row[position]]
    return sum(map(_is_mobile, written)) * 2 > len(written)


def _is_mobile(text: str) -> bool:
    try:
        normalise(text)
    except NotAMobile:
        return False
    return True

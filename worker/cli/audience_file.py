"""What commands share that read a file of people: a progress bar, the rows that were left out, and a summary."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.progress import Progress

from worker.campaigns.files.table import PeopleTable
from worker.cli.csv_file import rows_file
from worker.cli.output import clean, console, table
from worker.domain.campaigns.audience import NobodyLeft, Refusal, Row, RowFault, RowsLeftOut

ROWS_A_LOOK = 1000
NOT_READY = "not ready: an import or removal is under way or broke off; run `sms audience import` again"


def watched(rows: PeopleTable, progress: Progress) -> Iterator[Row]:
    """The rows of the table, with a bar of how much of its file has been read."""
    reading = progress.add_task("reading", total=rows.size)
    for number, row in enumerate(rows.rows):
        if number % ROWS_A_LOOK == 0:
            progress.update(reading, completed=rows.read())
        yield row


@contextmanager
def refusals_file(path: Path | None) -> Iterator[Callable[[Refusal], object]]:
    """Gives a function that writes a refused row to a CSV file. Without a path it does nothing.

    The file is written too where every row is refused.
    """
    nobody = None
    with rows_file(path, "--refusals", ("line", "value", "reason")) as write:
        try:
            yield lambda refusal: write((refusal.line, refusal.value, refusal.reason))
        except NobodyLeft as error:
            nobody = error
    if nobody:
        raise nobody


def summarise(good: int, left_out: RowsLeftOut) -> dict[str, Any]:
    """How many rows were good, repeats and refused, and why, as JSON."""
    return {
        "good": good,
        "repeats": left_out.repeats,
        "refused": left_out.refused.total(),
        "reasons": {fault.name.lower(): count for fault, count in left_out.refused.most_common()},
    }


def counts_in_words(summary: dict[str, Any]) -> str:
    """The numbers of `summarise` in a line."""
    return "{good:,} good numbers, {repeats:,} repeats, {refused:,} refused".format(**summary)


def print_left_out(left_out: RowsLeftOut) -> None:
    """Prints how many rows were refused or repeats, by reason, with the first few lines of each."""
    listed = table("rows", "left out, because the number", "for example", fixed={"rows": 7})
    repeats = [(RowFault.REPEAT, left_out.repeats)] if left_out.repeats else []
    for fault, count in [*left_out.refused.most_common(), *repeats]:
        examples = "\n".join(f"line {row.line}: {clean(row.value)}" for row in left_out.examples[fault])
        listed.add_row(f"{count:,}", fault, examples)
    if listed.row_count:
        console().print(listed)

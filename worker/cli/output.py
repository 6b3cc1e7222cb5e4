"""What commands print: tables for people, JSON for programs. Only a terminal gets colours; Rich heeds NO_COLOR too."""

import codecs
import json
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from typing import Annotated, Any

import typer
from rich import box
from rich.cells import cell_len, chop_cells, set_cell_size
from rich.console import Console
from rich.progress import Progress
from rich.table import Table
from rich.text import Text

from worker.domain.escape import escaped, escaped_json

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]

WIPED = "(wiped: the text of a code)"
"""Shown instead of a text that was deleted."""

STYLES = {
    "delivered": "green",
    "accepted": "cyan",
    "undelivered": "red",
    "rejected": "red",
    "unknown": "yellow",
    "expired": "magenta",
    "cancelled": "magenta",
    "suppressed": "magenta",
    "quarantined": "yellow",
    "open": "green",
    "closed": "red",
    "ok": "green",
    "look": "yellow",
    "wrong": "red",
}


def console(*, stderr: bool = False) -> Console:
    """A console that prints text as it is: what people wrote is not markup."""
    return Console(stderr=stderr, markup=False, emoji=False, highlight=False)


def progress_bar() -> Progress:
    """A bar on stderr, where that is a terminal."""
    screen = console(stderr=True)
    return Progress(console=screen, disable=not screen.is_terminal, transient=True)


@contextmanager
def progress(label: str, total: int | None) -> Iterator[Callable[[int], object]]:
    """Shows a bar on stderr, where that is a terminal. Call the function with how many more are done."""
    with progress_bar() as bar:
        task = bar.add_task(label, total=total)
        yield lambda more: bar.advance(task, more)


def as_json(value: Any, *, indent: int | None = None) -> str:
    """The value as JSON, with control characters escaped; times are ISO 8601.

    A stdout that is not UTF-8 gets ASCII: it would escape what it does not know in a way that JSON has not.
    """
    ascii_only = codecs.lookup(sys.stdout.encoding).name != "utf-8"
    return escaped_json(json.dumps(value, ensure_ascii=ascii_only, indent=indent, default=datetime.isoformat))


def print_json(value: Any) -> None:
    """Prints the value as JSON; times are ISO 8601."""
    typer.echo(as_json(value, indent=2))


def table(*columns: str, fixed: Mapping[str, int] | None = None, least: Mapping[str, int] | None = None) -> Table:
    """An empty table. Columns in `fixed` keep their width and are never folded, however narrow the terminal is.

    Columns in `least` are at least that wide; a longer text continues on the next line.
    """
    listed = Table(box=box.SIMPLE_HEAD, pad_edge=False, header_style="bold")
    for name in columns:
        width = (fixed or {}).get(name)
        listed.add_column(name, min_width=width or (least or {}).get(name), no_wrap=width is not None, overflow="fold")
    return listed


def clean(text: str) -> str:
    """Untrusted text, safe for a terminal: control characters are escaped, because a terminal obeys them."""
    return escaped(text, keep="\n\t")


def shortened(text: str, most: int) -> str:
    """The text on one line, cut after `most` columns; a Chinese character takes two."""
    line = clean(" ".join(text.split()))
    return line if cell_len(line) <= most else set_cell_size(line, most - 1).rstrip() + "…"


def wrapped(text: str, width: int) -> str:
    """The text on lines of `width` columns."""
    return "\n".join(chop_cells(clean(text), width))


def utc(moment: datetime) -> str:
    """A time as tables show it, to the second."""
    return f"{moment:%Y-%m-%d %H:%M:%S}"


def counted(counts: Mapping[str, int], separator: str = ", ") -> str:
    """`delivered 3, unknown 1`"""
    return separator.join(f"{name} {count:,}" for name, count in counts.items())


def plural(count: int, noun: str) -> str:
    """`1 call`, `2,000 calls`"""
    return f"1 {noun}" if count == 1 else f"{count:,} {noun}s"


def styled(text: str) -> Text:
    """The text, with the words of STYLES in their colours."""
    coloured = Text(text)
    for word, style in STYLES.items():
        coloured.highlight_words([word], style)
    return coloured

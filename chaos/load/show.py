"""The output of a run: a line every few seconds, and at the end a table of at most 80 columns."""

import math
from collections.abc import Sequence

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from chaos.load.checker import Figure
from chaos.load.watch import Watch

WIDTH = 80
REMARKS = 20


def status_line(watch: Watch, taken: int) -> str:
    """The state of the system in one line."""
    if not watch.looks:
        return "nothing was seen yet"
    look = watch.looks[-1]
    gate = "closed" if look.gate_closed else "open"
    return f"waiting {look.waiting:,}, taken {taken:,}, tick {look.tick:.1f} s, push {look.push:.1f} s, gate {gate}"


def show(figures: Sequence[Figure], counts: dict[str, int], remarks: Sequence[str]) -> None:
    """Prints the table, and below it the remarks."""
    table = Table("", "", "bound", title="Under load", title_justify="left", box=SIMPLE_HEAD)
    for column in table.columns[1:]:
        column.justify = "right"
    for name, count in counts.items():
        table.add_row(name, f"{count:,}", "")
    table.add_section()
    for figure in figures:
        value = amount(figure.value, figure.unit)
        table.add_row(figure.name, value if figure.holds else f"[bold red]{value}", bound(figure))
    console = Console(highlight=False)
    console.width = min(console.width, WIDTH)
    console.print(table)
    for remark in remarks[:REMARKS]:
        console.print(remark, markup=False)
    if len(remarks) > REMARKS:
        console.print(f"and {len(remarks) - REMARKS} more")
    broken = [figure.name for figure in figures if not figure.holds]
    console.print(f"Not within bounds: {', '.join(broken)}" if broken else "All within bounds", markup=False)


def amount(value: float, unit: str) -> str:
    """A value with its unit."""
    if math.isinf(value):
        return "never"
    return f"{value:,.2f} {unit}" if unit else f"{value:,.0f}"


def bound(figure: Figure) -> str:
    """The bound with its unit. Empty for a figure that is only shown."""
    unit = f" {figure.unit}" if figure.unit else ""
    if figure.least is not None:
        return f"≥ {figure.least:,g}{unit}"
    return "" if figure.most is None else f"≤ {figure.most:,g}{unit}"

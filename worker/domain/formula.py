"""Text that a spreadsheet would take for a formula: how it is written in a CSV file, and read from one again."""

import re

# How a formula begins (OWASP, CSV injection), with marks before it or without. A number alone is none.
_FORMULA = re.compile(r"'*(?![+-]?[0-9]+\Z)[=+\-@\t\r\n＝＋－＠]")


def as_cell(text: str) -> str:
    """The text as a file has it: with a mark before what would be a formula, so that it is text to a spreadsheet."""
    return f"'{text}" if _FORMULA.match(text) else text


def of_cell(cell: str) -> str:
    """The text that `as_cell` wrote: without the mark."""
    return cell[1:] if cell.startswith("'") and _FORMULA.match(cell[1:]) else cell

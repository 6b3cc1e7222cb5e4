"""Writes text that a spreadsheet would take for a formula to a CSV file, and reads it back."""

import re

# The beginning of a formula (OWASP, CSV injection), with marks before it or without. A number alone is not a formula.
_FORMULA = re.compile(r"'*(?![+-]?[0-9]+\Z)[=+\-@\t\r\n＝＋－＠]")


def as_cell(text: str) -> str:
    """The text for a cell. A mark before a formula makes it text to a spreadsheet."""
    return f"'{text}" if _FORMULA.match(text) else text


def of_cell(cell: str) -> str:
    """The text of a cell that `as_cell` wrote, without the mark."""
    return cell[1:] if cell.startswith("'") and _FORMULA.match(cell[1:]) else cell

"""The rows of a CSV file as people export it: in UTF-8 or GB18030, with commas, semicolons or tabs between the values."""

import csv
import re
from codecs import getincrementaldecoder
from collections.abc import Iterator
from io import TextIOWrapper
from typing import BinaryIO

from worker.domain.campaigns.audience import AudienceError, Row
from worker.domain.formula import of_cell

ENCODINGS = ("utf-8-sig", "gb18030")
"""Tried in this order; with a BOM or without. Excel in China writes GBK, which the second reads."""
DELIMITERS = "\t;,"
"""Where a header has as many of one as of another, the first here counts: a name may have commas, but hardly tabs."""
BLOCK = 1 << 20

_QUOTED = re.compile(r'(?<![^,;\t\r\n])"[^"]*(?:""[^"]*)*"')


def csv_rows(file: BinaryIO) -> Iterator[Row]:
    """Yields each row with the line that it begins on, without the marks that our own files have before formulas.

    Raises AudienceError where the file is not CSV.
    """
    text = TextIOWrapper(file, encoding=_encoding(file), newline="")
    line = 1
    try:
        # Strict: a row whose quote is not closed does not take in all rows after it.
        rows = csv.reader(text, delimiter=_delimiter(text), strict=True)
        for row in rows:
            yield line, [of_cell(cell) for cell in row]
            line = rows.line_num + 1
    except csv.Error as error:
        raise AudienceError(
            f"is not a CSV file: {error}, in the row on line {line}; mend that, or export it anew"
        ) from error
    except UnicodeDecodeError as error:
        raise AudienceError("was changed while it was read; do it again") from error
    finally:
        # Without it the wrapper would close the file, which the caller closes.
        text.detach()


def _encoding(file: BinaryIO) -> str:
    """Returns the encoding that the whole file can be read in. Only the whole file tells GB18030 from UTF-8."""
    for encoding in ENCODINGS:
        decoder = getincrementaldecoder(encoding)()
        file.seek(0)
        try:
            while block := file.read(BLOCK):
                if b"\0" in block:
                    raise AudienceError("is not a CSV file: it is not text; export it as CSV, UTF-8")
                decoder.decode(block)
            decoder.decode(b"", final=True)
        except UnicodeDecodeError:
            continue
        file.seek(0)
        return encoding
    raise AudienceError("is not a CSV file: it is neither UTF-8 nor GB18030 text; export it as CSV, UTF-8")


def _delimiter(text: TextIOWrapper) -> str:
    """Returns the one of DELIMITERS that the header has most of, outside of quotes."""
    header = _QUOTED.sub("", text.read(BLOCK)).lstrip("\r\n").partition("\n")[0].partition("\r")[0]
    text.seek(0)
    return max(DELIMITERS, key=header.count)

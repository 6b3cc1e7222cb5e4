"""Reads what an Excel workbook has beside its sheets: their names, the texts of cells, and the formats of numbers."""

import posixpath
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from openpyxl.styles.numbers import BUILTIN_FORMATS
from openpyxl.utils.datetime import MAC_EPOCH, WINDOWS_EPOCH

from worker.campaigns.files.archive import Archive
from worker.campaigns.files.shared_strings import SharedTexts, TextCollector, text_handlers
from worker.campaigns.files.xml_stream import named, parse
from worker.domain.campaigns.audience import AudienceError

_LINKS = "http://schemas.openxmlformats.org/package/2006/relationships"

MAX_SHEETS = 1000
MAX_LINKS = 10_000
MAX_FORMATS = 65_536
"""Excel has 65,490 at the most."""
MAX_FORMAT = 255
"""Characters of a format, as in Excel."""
MAX_NAME = 1000
"""Characters of the name of a sheet or a part, of which Excel has 31 and 255."""

SHOWN_SHEETS = 20
"""Names of sheets that an error lists."""


@dataclass(frozen=True, slots=True)
class Workbook:
    """A workbook: the parts that have its sheets, by the names of the sheets, and what cells refer to."""

    sheets: dict[str, str]
    epoch: datetime
    texts: SharedTexts
    formats: list[str]


def read_workbook(archive: Archive) -> Workbook:
    """Reads all but the sheets. Raises AudienceError where it is too much."""
    book = next(iter(_links(archive, "")["officeDocument"].values()), "xl/workbook.xml")
    links = _links(archive, book)
    sheets, epoch = _sheets(archive, book, links["worksheet"])
    return Workbook(
        sheets,
        epoch,
        _texts(archive, _one_part(archive, links["sharedStrings"], "xl/sharedStrings.xml")),
        _formats(archive, _one_part(archive, links["styles"], "xl/styles.xml")),
    )


def _one_part(archive: Archive, linked: dict[str, str], usual: str) -> str | None:
    """Returns the part that is linked, or the one in the usual place.

    None where there is none, as in a workbook without texts.
    """
    part = next(iter(linked.values()), usual)
    return part if part in archive else None


def _links(archive: Archive, part: str) -> dict[str, dict[str, str]]:
    """Returns the parts that this one refers to, by kind and id."""
    folder, name = posixpath.split(part)
    links: dict[str, dict[str, str]] = {"worksheet": {}, "sharedStrings": {}, "styles": {}, "officeDocument": {}}

    def link(attributes: dict[str, str]) -> None:
        kind = links.get(attributes.get("Type", "").rpartition("/")[2])
        if kind is not None:
            _check_count(len(kind), MAX_LINKS, "links between its parts")
            target = posixpath.normpath(posixpath.join("/", folder, _name(attributes["Target"])))
            kind[_name(attributes["Id"])] = target.lstrip("/")

    for _ in parse(
        archive.blocks(posixpath.join(folder, "_rels", f"{name}.rels")), {f"{_LINKS} Relationship": link}, {}
    ):
        pass
    return links


def _sheets(archive: Archive, book: str, parts: dict[str, str]) -> tuple[dict[str, str], datetime]:
    sheets: dict[str, str] = {}
    epoch = WINDOWS_EPOCH

    def properties(attributes: dict[str, str]) -> None:
        nonlocal epoch
        epoch = MAC_EPOCH if attributes.get("date1904") in ("1", "true") else WINDOWS_EPOCH

    def sheet(attributes: dict[str, str]) -> None:
        _check_count(len(sheets), MAX_SHEETS, "sheets")
        part = next((parts.get(value, "") for name, value in attributes.items() if name.endswith(" id")), "")
        # A sheet that is a chart is not a worksheet.
        if part in archive:
            sheets[_name(attributes["name"])] = part

    for _ in parse(archive.blocks(book), named({"workbookPr": properties, "sheet": sheet}), {}):
        pass
    return sheets, epoch


def _texts(archive: Archive, part: str | None) -> SharedTexts:
    texts, text = SharedTexts(archive.bounds), TextCollector()
    at_start, at_end = text_handlers(text)
    # As openpyxl does: Excel writes a text that looks like an escape with this in front.
    at_end |= named({"si": lambda: texts.add(text.take().replace("x005F_", ""))})
    for _ in parse(archive.blocks(part), at_start, at_end, text.add) if part else ():
        pass
    return texts


def _formats(archive: Archive, part: str | None) -> list[str]:
    """Returns the formats of numbers, by the number of the style that a cell names."""
    custom: dict[int, str] = {}
    styles: list[int] = []
    in_cells = False

    def number_format(attributes: dict[str, str]) -> None:
        _check_count(len(custom), MAX_FORMATS, "formats of numbers")
        code = attributes["formatCode"]
        custom[int(_name(attributes["numFmtId"]))] = code if len(code) <= MAX_FORMAT else "General"

    def of_cells(starts: bool) -> Callable[..., None]:
        def change(*_: object) -> None:
            nonlocal in_cells
            in_cells = starts

        return change

    def style(attributes: dict[str, str]) -> None:
        if in_cells:
            _check_count(len(styles), MAX_FORMATS, "formats of cells")
            styles.append(int(_name(attributes.get("numFmtId", "0"))))

    at_start = named({"numFmt": number_format, "cellXfs": of_cells(True), "xf": style})
    for _ in parse(archive.blocks(part), at_start, named({"cellXfs": of_cells(False)})) if part else ():
        pass
    return [custom.get(number) or BUILTIN_FORMATS.get(number, "General") for number in styles]


def _name(text: str) -> str:
    if len(text) > MAX_NAME:
        raise AudienceError(f"has a name of more than {MAX_NAME:,} characters; save the sheet that you need as CSV")
    return text


def _check_count(count: int, most: int, what: str) -> None:
    if count >= most:
        raise AudienceError(f"has more than {most:,} {what}; save the sheet that you need as CSV")

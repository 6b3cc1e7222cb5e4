"""Reading a sheet of an Excel workbook: cells as a person sees them, and files that mean harm."""

import re
import shutil
import tracemalloc
import zipfile
from collections.abc import Callable
from datetime import date, datetime, time, timedelta
from pathlib import Path
from typing import Any

import pytest
from openpyxl import Workbook

from worker.campaigns.files.archive import Bounds
from worker.campaigns.files.sheet_rows import sheet_rows
from worker.campaigns.files.table import open_table
from worker.domain.campaigns.audience import AudienceError, Row

FIRST = "13800138000"
moment = datetime.fromisoformat
SHEET, STRINGS, BOOK = "xl/worksheets/sheet1.xml", "xl/sharedStrings.xml", "xl/workbook.xml"
ENTITIES = (
    b'<!DOCTYPE x [<!ENTITY a "lol">'
    + b"".join(b'<!ENTITY %c "%s">' % (c, b"&%c;" % (c - 1) * 99) for c in range(98, 107))
    + b"]>"
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "people"


def written(path: Path, *rows: list[Any], formats: dict[str, str] | None = None) -> Path:
    workbook = Workbook()
    sheet = workbook.active
    assert sheet is not None
    for row in rows:
        sheet.append(row)
    for cell, number_format in (formats or {}).items():
        sheet[cell].number_format = number_format
    workbook.save(path)
    return path


def changed(path: Path, part: str, change: Callable[[bytes], bytes]) -> Path:
    """The workbook with that part changed, or added."""
    other = path.with_suffix(".changed")
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(other, "w", zipfile.ZIP_DEFLATED) as new:
        parts = {part: b""} | {name: old.read(name) for name in old.namelist()}
        for name, content in parts.items():
            new.writestr(name, change(content) if name == part else content)
    shutil.move(other, path)
    return path


def read(path: Path, sheet: str | None = None) -> list[Row]:
    with open_table(path, column="m", sheet=sheet) as table:
        return list(table.rows)


def read_within(path: Path, bounds: Bounds) -> list[Row]:
    """Returns all rows of the first sheet, with its header."""
    with path.open("rb") as file:
        return list(sheet_rows(file, None, bounds))


def shown(path: Path, value: Any, number_format: str = "General") -> str:
    written(path, ["m", "value"], [FIRST, value], formats={"B2": number_format})
    [(_, (_, text))] = read(path)
    return text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (13800138000, FIRST),
        (13800138000.0, FIRST),
        (1.38e10, "13800000000"),
        (941.83, "941.83"),
        (0.1 + 0.2, "0.3"),
        (0.0000001, "0.0000001"),
        (-5, "-5"),
        (True, "TRUE"),
        (moment("2026-12-16"), "2026-12-16"),
        (date(2026, 12, 16), "2026-12-16"),
        (moment("2026-12-16T09:30"), "2026-12-16 09:30"),
        (moment("2026-12-16T09:30:05"), "2026-12-16 09:30:05"),
        (time(9, 30), "09:30:00"),
        (timedelta(hours=30), "1 day, 6:00:00"),
        (" 王芳 ", " 王芳 "),
    ],
)
def test_a_cell_is_the_text_that_a_person_sees(path: Path, value: Any, text: str) -> None:
    formats = {datetime: "yyyy-mm-dd h:mm:ss", date: "yyyy-mm-dd", time: "h:mm:ss", timedelta: "[h]:mm:ss"}
    assert shown(path, value, formats.get(type(value), "General")) == text


@pytest.mark.parametrize(
    ("value", "number_format", "text"),
    [
        (12.5, "0.00", "12.50"),
        (12, "0.00", "12.00"),
        (0.125, "0.00", "0.13"),
        (1234.5, "#,##0.00", "1,234.50"),
        (0.85, "0%", "85%"),
        (0.07, "0.0%", "7.0%"),
        (123, "00000", "00123"),
        (12.5, '"¥"0.00', "12.5"),
        (13800138000, "0.00", FIRST),
        (13800138000, "#,##0", FIRST),
    ],
)
def test_a_number_has_the_decimals_and_the_percent_of_its_format(
    path: Path, value: float, number_format: str, text: str
) -> None:
    assert shown(path, value, number_format) == text


def test_texts_that_cells_share_are_read_without_their_styles_and_pronunciation(path: Path) -> None:
    written(path, ["m", "n"], [FIRST, "x"])
    text = "<r><rPr><b/></rPr><t>王</t></r><r><t>芳</t></r><rPh sb='0' eb='1'><t>wang</t></rPh>"
    space = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
    changed(path, STRINGS, lambda _: f"<sst xmlns='{space}'><si>{text}</si></sst>".encode())
    kind = "application/vnd.openxmlformats-officedocument.spreadsheetml.sharedStrings+xml"
    override = f"<Override PartName='/{STRINGS}' ContentType='{kind}'/></Types>"
    changed(path, "[Content_Types].xml", lambda xml: xml.replace(b"</Types>", override.encode()))
    changed(path, SHEET, lambda xml: xml.replace(b't="inlineStr"><is><t>x</t></is>', b't="s"><v>0</v>'))
    assert read(path) == [(2, [FIRST, "王芳"])]


def test_rows_are_numbered_as_in_the_sheet_and_empty_ones_are_none(path: Path) -> None:
    written(path, [None, None], ["m", "n"], [FIRST, 1], [None, None], [], [FIRST, None, "x"])
    assert read(path) == [(3, [FIRST, "1"]), (6, [FIRST, "", "x"])]


def test_the_first_sheet_is_read_unless_one_is_named(path: Path) -> None:
    workbook = Workbook()
    for name in ("一月", "二月"):
        sheet = workbook.create_sheet(name)
        sheet.append(["m", "month"])
        sheet.append([FIRST, name])
    workbook.remove(workbook.worksheets[0])
    workbook.save(path)
    assert read(path) == [(2, [FIRST, "一月"])]
    assert read(path, "二月") == [(2, [FIRST, "二月"])]
    with pytest.raises(AudienceError, match="has no sheet '三月'; give --sheet one of: 一月, 二月"):
        read(path, "三月")


def test_a_csv_file_has_no_sheets(path: Path) -> None:
    path.write_text(f"m\n{FIRST}\n")
    with pytest.raises(AudienceError, match="is not an Excel workbook and has no sheets"):
        read(path, "一月")


def test_what_a_sheet_says_of_its_size_is_not_believed(path: Path) -> None:
    written(path, ["m"], [FIRST])
    changed(path, SHEET, lambda xml: re.sub(b'<dimension ref="[^"]*"', b'<dimension ref="A1:XFD1048576"', xml))
    assert read(path) == [(2, [FIRST])]
    changed(path, SHEET, lambda xml: re.sub(b'<dimension ref="[^"]*"', b'<dimension ref="A1"', xml))
    assert read(path) == [(2, [FIRST])]


@pytest.mark.parametrize(
    ("part", "change"),
    [
        (SHEET, lambda xml: ENTITIES + xml.replace(b"<sheetData>", b"<sheetData>&j;")),
        (BOOK, lambda xml: ENTITIES + xml.replace(b'name="Sheet"', b'name="&j;"')),
        (SHEET, lambda xml: xml[:-20]),
        (SHEET, lambda xml: b"no XML"),
        (SHEET, lambda xml: xml.replace(b't="inlineStr"><is><t>m</t></is>', b't="s"><v>77</v>')),
        (SHEET, lambda xml: xml.replace(b'r="2"', b'r="x"')),
        (SHEET, lambda xml: xml.replace(b'<row r="2"', b'<row r="1"')),
        (SHEET, lambda xml: xml.replace(b'<row r="2"', b'<row r="1048577"')),
        (SHEET, lambda xml: xml.replace(b'r="A2"', b'r="ZZZZ2"')),
        (BOOK, lambda xml: b""),
        (SHEET, lambda xml: xml.replace(b"<row ", b"<c>" * 5000 + b"<row ")),
    ],
)
def test_a_broken_or_hostile_workbook_is_refused_in_words(
    path: Path, part: str, change: Callable[[bytes], bytes]
) -> None:
    changed(written(path, ["m"], [FIRST]), part, change)
    with pytest.raises(AudienceError, match="is not an Excel workbook that can be read"):
        read(path)


def test_what_a_sheet_unpacks_to_is_counted_as_it_unpacks(path: Path) -> None:
    written(path, ["m"], [FIRST])
    changed(path, SHEET, lambda xml: xml.replace(b"<row ", b" " * (20 << 20) + b"<row ", 1))
    with pytest.raises(
        AudienceError, match="unpacks to more than 16 MiB, which no list of people in a file of its size does"
    ):
        read(path)
    assert read_within(path, Bounds(least_unpacked=32 << 20)) == [(1, ["m"]), (2, [FIRST])]


def test_a_large_file_may_unpack_to_a_hundred_times_its_size_but_to_no_more_than_bound(path: Path) -> None:
    written(path, ["m"], [FIRST], [FIRST])
    assert len(read_within(path, Bounds(least_unpacked=0))) == 3
    with pytest.raises(AudienceError, match="unpacks to more than"):
        read_within(path, Bounds(least_unpacked=0, most_unpacked=1000))


@pytest.mark.parametrize("bounds", [Bounds(texts=2), Bounds(texts_size=5)], ids=["number", "size"])
def test_the_texts_that_cells_share_have_a_number_and_a_size(path: Path, bounds: Bounds) -> None:
    written(path, ["m"], [FIRST])
    texts = "".join(f"<si><t>abc{n}</t></si>" for n in range(3))
    space = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
    changed(path, STRINGS, lambda _: f"<sst xmlns='{space}'>{texts}</sst>".encode())
    assert read(path) == [(2, [FIRST])]
    with pytest.raises(AudienceError, match="in its sheets; save the one that you need as CSV"):
        read_within(path, bounds)


def test_a_workbook_in_strict_open_xml_is_read(path: Path) -> None:
    written(path, ["m", "n"], [FIRST, 0.5], formats={"B2": "0%"})
    for part in (SHEET, BOOK, "xl/styles.xml"):
        changed(
            path,
            part,
            lambda xml: xml.replace(
                b"http://schemas.openxmlformats.org/spreadsheetml/2006/main",
                b"http://purl.oclc.org/ooxml/spreadsheetml/main",
            ),
        )
    assert read(path) == [(2, [FIRST, "50%"])]


def test_what_is_no_value_of_a_cell_is_no_text(path: Path) -> None:
    written(path, ["m", "n"], [FIRST, 5])
    changed(
        path,
        SHEET,
        lambda xml: xml.replace(b"<v>5</v>", b"<f>2+3</f><v>5</v><extLst><ext><t xmlns='urn:x'>9</t></ext></extLst>"),
    )
    assert read(path) == [(2, [FIRST, "5"])]


def test_cells_may_be_without_places_and_rows_without_numbers(path: Path) -> None:
    written(path, ["m", "n"], [FIRST, 5])
    changed(path, SHEET, lambda xml: re.sub(rb' r="[A-Z]*\d+"', b"", xml))
    assert read(path) == [(2, [FIRST, "5"])]


def test_of_the_rows_of_a_long_sheet_next_to_nothing_is_kept(path: Path) -> None:
    written(path, ["m"], [FIRST])
    # As LibreOffice writes it, with a height for each row.
    height = b'customFormat="false" ht="12.8" hidden="false" customHeight="false" outlineLevel="0" collapsed="false"'
    rows = b"".join(
        b'<row r="%d" %s><c r="A%d"><v>%s</v></c></row>' % (n, height, n, FIRST.encode()) for n in range(3, 20_000)
    )
    changed(path, SHEET, lambda xml: xml.replace(b"</sheetData>", rows + b"</sheetData>"))
    with open_table(path) as table:
        tracemalloc.start()
        try:
            assert sum(1 for _ in table.rows) == 19_998
            assert tracemalloc.get_traced_memory()[1] < 3_000_000
        finally:
            tracemalloc.stop()

"""Untrusted workbooks, built part by part."""

import zipfile
from collections.abc import Iterable
from pathlib import Path

_OFFICE = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
_PACKAGE = "http://schemas.openxmlformats.org/package/2006"
_KIND = "application/vnd.openxmlformats-officedocument.spreadsheetml"
_SPACES = f"xmlns='http://schemas.openxmlformats.org/spreadsheetml/2006/main' xmlns:r='{_OFFICE}'"

SHEET, TEXTS, STYLES, BOOK, KINDS = (
    "xl/worksheets/sheet1.xml",
    "xl/sharedStrings.xml",
    "xl/styles.xml",
    "xl/workbook.xml",
    "[Content_Types].xml",
)
MIB = 1 << 20


def workbook(path: Path, compression: int = zipfile.ZIP_DEFLATED, **filled: Iterable[str]) -> Path:
    """A workbook with a mobile in its second row, and in the places named what is given for them.

    The places are `cells` (after the second row), `rows` (in place of the first two), `after_cells`, `texts`, `formats`, `names`
    (of sheets), `beside_sheets`, `kinds`.
    """
    with zipfile.ZipFile(path, "w", compression, compresslevel=1) as archive:
        for part, pieces in _parts(filled).items():
            with archive.open(part, "w") as file:
                for piece in pieces:
                    file.write(piece.encode())
    return path


def many(piece: str, size: int) -> Iterable[str]:
    """The piece, again and again, up to that many bytes."""
    whole = piece * (MIB // len(piece.encode()))
    return [whole] * (size // MIB)


def row(*texts: str) -> str:
    """A row of these texts, which stand in the cells themselves."""
    cells = (f"<c t='inlineStr'><is><t>{text}</t></is></c>" for text in texts)
    return f"<row>{''.join(cells)}</row>"


def _parts(filled: dict[str, Iterable[str]]) -> dict[str, Iterable[str]]:
    first = [row("mobile"), row("13800138000")]
    return {
        KINDS: [
            f"<Types xmlns='{_PACKAGE}/content-types'><Default Extension='xml' ContentType='application/xml'/>",
            *(
                f"<Override PartName='/{part}' ContentType='{_KIND}.{kind}+xml'/>"
                for part, kind in (
                    (BOOK, "sheet.main"),
                    (SHEET, "worksheet"),
                    (TEXTS, "sharedStrings"),
                    (STYLES, "styles"),
                )
            ),
            *filled.get("kinds", ()),
            "</Types>",
        ],
        "_rels/.rels": _links(("officeDocument", BOOK)),
        "xl/_rels/workbook.xml.rels": _links(
            ("worksheet", "worksheets/sheet1.xml"), ("sharedStrings", "sharedStrings.xml"), ("styles", "styles.xml")
        ),
        BOOK: [
            f"<workbook {_SPACES}><sheets>",
            *filled.get("names", ["<sheet name='Sheet' sheetId='1' r:id='worksheet'/>"]),
            "</sheets>",
            *filled.get("beside_sheets", ()),
            "</workbook>",
        ],
        STYLES: [
            f"<styleSheet {_SPACES}><fonts><font/></fonts><fills><fill><patternFill/></fill></fills><borders><border/></borders>",
            "<cellStyleXfs><xf/></cellStyleXfs><cellXfs><xf numFmtId='0'/>",
            *filled.get("formats", ()),
            "</cellXfs></styleSheet>",
        ],
        TEXTS: [f"<sst {_SPACES}>", *filled.get("texts", ()), "</sst>"],
        SHEET: [
            f"<worksheet {_SPACES}><sheetData>",
            *filled.get("rows", first),
            *filled.get("cells", ()),
            "</sheetData>",
            *filled.get("after_cells", ()),
            "</worksheet>",
        ],
    }


def _links(*targets: tuple[str, str]) -> list[str]:
    return [
        f"<Relationships xmlns='{_PACKAGE}/relationships'>",
        *(f"<Relationship Id='{kind}' Type='{_OFFICE}/{kind}' Target='{target}'/>" for kind, target in targets),
        "</Relationships>",
    ]

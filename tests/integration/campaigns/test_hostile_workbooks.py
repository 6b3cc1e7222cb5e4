"""Workbooks that mean harm: each is small, and `sms audience import` has 256 MiB to refuse or read it in."""

import os
import subprocess
import sys
import zipfile
from collections.abc import Iterable
from pathlib import Path

import pytest
from ledger_driver import mobile
from sqlalchemy import select
from workbook_builder import MIB, many, row, workbook

from worker.ledger import tables as t
from worker.ledger.engine import open_engine

pytestmark = [pytest.mark.long("packs, unpacks and parses a gigabyte"), pytest.mark.beside]

MEMORY = 256 * MIB
# Only a command that would never end takes so long: the slowest takes a tenth of it.
SECONDS = 60
_LIMITED = f"""
import resource
resource.setrlimit(resource.RLIMIT_DATA, ({MEMORY}, {MEMORY}))
resource.setrlimit(resource.RLIMIT_CPU, ({SECONDS}, {SECONDS}))
from worker.cli import main
main()
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "people.xlsx"


def imported(url: str, path: Path) -> subprocess.CompletedProcess[str]:
    """Runs the command that imports the file as an audience, in little memory."""
    command = [sys.executable, "-c", _LIMITED, "audience", "import", "spring", str(path), "--column", "mobile"]
    environment = os.environ | {"SMS_LEDGER_URL": url}
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


def assert_refused(url: str, path: Path, said: str) -> None:
    """Asserts that the file is refused in one sentence, and leaves nothing in the ledger."""
    result = imported(url, path)
    assert result.returncode == 1, result.stdout
    assert said in result.stderr
    assert result.stderr.count("\n") == 1
    engine = open_engine(url)
    with engine.connect() as connection:
        assert not connection.execute(select(t.audiences)).all()
        assert not connection.execute(select(t.members)).all()
    engine.dispose()


TOO_MUCH = "MiB, which no list of people in a file of its size does; save its sheet as CSV"
NAMES = "is not an Excel workbook that can be read: it has more names, or longer ones, than any workbook; save it anew as .xlsx, or as CSV"
TAG = "is not an Excel workbook that can be read: a tag has more than 1,048,576 bytes"
DEPTH = "is not an Excel workbook that can be read: its elements are more than 100 deep"


@pytest.mark.parametrize(
    ("place", "content", "said"),
    [
        pytest.param("texts", many("<si/>", 60 * MIB), TOO_MUCH, id="millions of tiny texts"),
        pytest.param("texts", many("<x/>", 60 * MIB), TOO_MUCH, id="millions of elements that are no texts"),
        pytest.param(
            "texts", ["<si>", *many("<r><t>a</t></r>", 60 * MIB), "</si>"], TOO_MUCH, id="a text of millions of pieces"
        ),
        pytest.param("texts", ["<si><t>", *many("a", 90 * MIB), "</t></si>"], TOO_MUCH, id="a text of 90 MiB"),
        pytest.param(
            "formats",
            many("<xf/>", 10 * MIB),
            "has more than 65,536 formats of cells; save the sheet that you need as CSV",
            id="millions of formats",
        ),
        pytest.param(
            "names",
            [f"<sheet name='{n}' sheetId='1' r:id='worksheet'/>" for n in range(1001)],
            "has more than 1,000 sheets; save the sheet that you need as CSV",
            id="a thousand sheets",
        ),
        pytest.param(
            "names",
            [f"<sheet name='{'n' * 10_000}{n}' sheetId='1' r:id='worksheet'/>" for n in range(10)],
            "has a name of more than 1,000 characters; save the sheet that you need as CSV",
            id="sheets with long names",
        ),
        pytest.param(
            "cells",
            ["<row>", *many("<c/>", 60 * MIB), "</row>"],
            "has more than 16,384 cells in row 3; save its sheet as CSV",
            id="millions of cells in a row",
        ),
        pytest.param(
            "cells", many(f"<row>{'<c/>' * 16_000}</row>", 60 * MIB), TOO_MUCH, id="millions of cells in many rows"
        ),
        pytest.param("cells", many("<x/>", 60 * MIB), TOO_MUCH, id="millions of elements that are no rows"),
        pytest.param("cells", many("<c>", 60 * MIB), DEPTH, id="millions of elements in each other"),
        pytest.param("cells", ["<row a='", *many("a", 60 * MIB), "'/>"], TAG, id="an attribute of 60 MiB"),
        pytest.param("cells", ["<!--", *many("a", 60 * MIB), "-->"], TAG, id="a comment of 60 MiB"),
        pytest.param("cells", [f"<n{n}/>" for n in range(300_000)], NAMES, id="many names of elements"),
        pytest.param("cells", [f"<n{'n' * 30_000}{n}/>" for n in range(500)], NAMES, id="long names of elements"),
        pytest.param("cells", [f"<n a{n}=''/>" for n in range(300_000)], NAMES, id="many names of attributes"),
        pytest.param("cells", [f"<n xmlns:a{n}='b'/>" for n in range(300_000)], NAMES, id="many names of namespaces"),
        pytest.param(
            "rows",
            [row(*(f"c{n}" for n in range(16_384)))],
            "it has 16,384 columns, and 1,000 are the most; remove those that no text needs",
            id="a header of 16,384 columns",
        ),
    ],
)
def test_a_small_workbook_that_unpacks_to_much_is_refused_in_a_sentence_and_little_memory(
    sqlite_url: str, path: Path, place: str, content: Iterable[str], said: str
) -> None:
    workbook(path, **{place: content})
    assert_refused(sqlite_url, path, said)


def test_a_text_that_many_cells_share_does_not_fill_the_ledger(sqlite_url: str, path: Path) -> None:
    shared = "<c t='s'><v>0</v></c>" * 20
    workbook(path, texts=[f"<si><t>{'a' * 400}</t></si>"], cells=[f"<row>{shared}</row>"] * 100_000)
    assert_refused(sqlite_url, path, TOO_MUCH)
    workbook(path, texts=[f"<si><t>{'a' * 30_000}</t></si>"], cells=[f"<row>{shared * 2}</row>"])
    assert_refused(
        sqlite_url, path, "has more than 262,144 characters in row 3, which is not a person; remove that row"
    )


def test_a_workbook_of_many_parts_is_refused_before_they_are_listed(sqlite_url: str, path: Path) -> None:
    workbook(path)
    with zipfile.ZipFile(path, "a") as archive:
        for number in range(25_000):
            archive.writestr(f"{number}", b"")
    assert_refused(sqlite_url, path, "has more parts than any workbook; save its sheet as CSV")


def test_a_workbook_that_is_packed_in_a_way_that_has_no_bounds_is_refused(sqlite_url: str, path: Path) -> None:
    workbook(path, zipfile.ZIP_BZIP2, texts=many("<si/>", 10 * MIB))
    assert_refused(sqlite_url, path, "is packed in a way that no workbook is; save it anew as .xlsx, or as CSV")


def test_a_part_that_says_it_is_small_is_unpacked_no_further_than_that(sqlite_url: str, path: Path) -> None:
    workbook(path, texts=many("<si/>", 60 * MIB))
    archive = bytearray(path.read_bytes())
    at = archive.rindex(b"xl/sharedStrings.xml")
    # Its size in the list of parts, 22 bytes before its name.
    archive[at - 22 : at - 18] = (1000).to_bytes(4, "little")
    path.write_bytes(archive)
    assert_refused(sqlite_url, path, "is not an Excel workbook that can be read")


@pytest.mark.parametrize(
    ("place", "begin", "item", "end"),
    [
        ("after_cells", "<mergeCells>", "<mergeCell ref='A1:B2'/>", "</mergeCells>"),
        ("after_cells", "<hyperlinks>", "<hyperlink ref='A1'/>", "</hyperlinks>"),
        ("beside_sheets", "<definedNames>", "<definedName name='a'>A</definedName>", "</definedNames>"),
        ("kinds", "", "<Override PartName='/a' ContentType='b'/>", ""),
    ],
)
def test_what_a_workbook_says_beside_its_cells_takes_no_memory(
    sqlite_url: str, path: Path, place: str, begin: str, item: str, end: str
) -> None:
    workbook(path, **{place: [begin, *many(item, 14 * MIB), end]})
    result = imported(sqlite_url, path)
    assert result.returncode == 0, result.stderr
    assert result.stdout.splitlines()[-1] == "1 good numbers, 0 repeats, 0 refused, by the column mobile"


def test_a_cell_that_is_too_long_leaves_out_its_row_alone(sqlite_url: str, path: Path) -> None:
    workbook(path, rows=[row("mobile", "n"), row(mobile(1), "a" * 8 * MIB), row(mobile(2), "b")])
    result = imported(sqlite_url, path)
    assert "is in a row of more than 10,000 characters" in result.stdout
    assert result.stdout.splitlines()[-1] == "1 good numbers, 0 repeats, 1 refused, by the column mobile"


def test_a_workbook_of_a_hundred_thousand_people_who_share_no_text_is_imported(sqlite_url: str, path: Path) -> None:
    people = range(100_000)
    cells = "".join(f"<c t='s'><v>{{{n}}}</v></c>" for n in range(3))
    workbook(
        path,
        texts=[f"<si><t>{mobile(n)}</t></si><si><t>王芳{n}</t></si><si><t>上海市{n}号</t></si>" for n in people],
        rows=[
            row("mobile", "姓名", "地址"),
            *(f"<row>{cells}</row>".format(3 * n, 3 * n + 1, 3 * n + 2) for n in people),
        ],
    )
    result = imported(sqlite_url, path)
    assert result.stdout.splitlines()[-1] == "100,000 good numbers, 0 repeats, 0 refused, by the column mobile"

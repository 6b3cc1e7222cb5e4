"""Reading a table from a file: whatever kind of file it is, the same rows, or the reason why there are none."""

import csv
import os
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from openpyxl import Workbook

from worker.campaigns.files.table import open_table
from worker.domain.campaigns.audience import AudienceError, Row
from worker.domain.formula import of_cell

FIRST, SECOND = "13800138000", "13900139000"


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("table") / "people.txt"


def read(path: Path, content: bytes | None = None, column: str | None = None) -> list[Row]:
    if content is not None:
        path.write_bytes(content)
    with open_table(path, column=column) as table:
        return list(table.rows)


def as_csv(encoding: str, **options: str) -> Callable[[Path, Sequence[Sequence[str]]], None]:
    def write(path: Path, rows: Sequence[Sequence[str]]) -> None:
        with path.open("w", encoding=encoding, newline="") as file:
            csv.writer(file, quoting=csv.QUOTE_ALL, **options).writerow(rows[0])
            csv.writer(file, **options).writerows(rows[1:])

    return write


def as_xlsx(path: Path, rows: Sequence[Sequence[str]]) -> None:
    workbook = Workbook(write_only=True)
    sheet = workbook.create_sheet()
    for row in rows:
        sheet.append(row)
    workbook.save(path)


WRITERS = {
    "utf-8": as_csv("utf-8"),
    "utf-8 with a BOM": as_csv("utf-8-sig"),
    "gb18030": as_csv("gb18030"),
    "semicolons": as_csv("utf-8", delimiter=";"),
    "tabs and plain line feeds": as_csv("utf-8", delimiter="\t", lineterminator="\n"),
    "xlsx": as_xlsx,
}
# A line feed alone within a value: XML has no other.
VALUES = st.text(st.characters(codec="utf-8", exclude_categories=["Cc"], include_characters="\n\t"), max_size=8).filter(
    # Excel has neither: what looks like a formula, and what is escaped in its own way.
    lambda text: not text.startswith("=") and "_x" not in text
)
TABLES = st.integers(1, 5).flatmap(
    lambda width: st.tuples(
        st.lists(
            st.sampled_from(["name", "姓名", 'a"b', "a,b", "a;b", "a\nb", "x y"]),
            unique=True,
            min_size=width,
            max_size=width,
        ),
        st.lists(st.lists(VALUES, min_size=width, max_size=width), max_size=5),
    )
)


@pytest.mark.parametrize("writer", WRITERS)
@example(table=(["name"], [["'="], ["'\n"], ["'@x"]]))
@given(table=TABLES)
def test_a_table_reads_back_as_it_was_written(
    path: Path, writer: str, table: tuple[list[str], list[list[str]]]
) -> None:
    header, rows = table
    written = [["mobile", *header], *([FIRST, *row] for row in rows), [SECOND, *header]]
    WRITERS[writer](path, written)
    with open_table(path) as file:
        assert (file.header, file.column) == (("mobile", *header), "mobile")
        values = [list(row) for _, row in file.rows]
    # A mark before what would be a formula is ours, and a CSV file is read without it.
    as_read = [[value if writer == "xlsx" else of_cell(value) for value in row] for row in written[1:]]
    assert [row + [""] * (len(written[0]) - len(row)) for row in values] == as_read


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "gb18030"])
def test_a_file_is_read_in_the_encodings_that_excel_writes(path: Path, encoding: str) -> None:
    assert read(path, f"姓名,手机\r\n王芳,{FIRST}\r\n".encode(encoding)) == [(2, ["王芳", FIRST])]


def test_the_whole_file_tells_its_encoding(path: Path) -> None:
    rows = "".join(f"a,{FIRST}\n" for _ in range(300_000))
    assert read(path, f"n,m\n{rows}王芳,{SECOND}\n".encode("gb18030"))[-1] == (300_002, ["王芳", SECOND])


def test_each_row_has_the_line_that_it_begins_on_and_empty_ones_are_none(path: Path) -> None:
    content = f'name,m\n"two\nlines",{FIRST}\n\n,\nx,{SECOND}\r\ny,1'.encode()
    assert read(path, content) == [(2, ["two\nlines", FIRST]), (6, ["x", SECOND]), (7, ["y", "1"])]


@pytest.mark.parametrize(
    ("header", "row"),
    [
        ("m;name", f"{FIRST};Smith, John, of, course"),
        ("m\tname", f"{FIRST}\tSmith; John"),
        ("m\tname, first", f"{FIRST}\tx"),
        ('"name, last; first";m', f"x;{FIRST}"),
        ('5" name;m', f"x;{FIRST}"),
        ('"a\n,,,""";m', f"x;{FIRST}"),
    ],
)
def test_the_header_outside_of_quotes_tells_the_delimiter(path: Path, header: str, row: str) -> None:
    [(_, fields)] = read(path, f"{header}\n{row}\n".encode())
    assert len(fields) == 2


def test_a_column_without_quotes_or_delimiters_is_a_table(path: Path) -> None:
    assert read(path, f"n\n{FIRST}".encode()) == [(2, [FIRST])]


def test_empty_columns_at_the_end_are_none(path: Path) -> None:
    path.write_bytes(f"m,name,,\n{FIRST},x,,\n".encode())
    with open_table(path) as table:
        assert table.header == ("m", "name")


def test_a_table_tells_how_much_of_its_file_has_been_read(path: Path) -> None:
    path.write_bytes(b"m\n" + f"{FIRST}\n".encode() * 100_000)
    with open_table(path) as table:
        assert 0 < table.read() < table.size == 1_200_002
        assert len(list(table.rows)) == 100_000
        assert table.read() == table.size


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "is empty; its first line must name the columns"),
        (b"\n", "is empty"),
        (b",,\n1,2,3\n4,5,6\n", "shows no column of mobiles; give --column one of: 1, 2, 3"),
        (b"m,n\n", "has no row below its header"),
        (b"m,n\n\n,\n", "has no row below its header"),
        (b"a,b\n1,2\n", "shows no column of mobiles; give --column one of: a, b"),
        (b"m,,n\n1,2,3\n", "has a header that cannot be used: column 2 has no name"),
        (b"m,n,m\n1,2,3\n", "2 columns have the name 'm'"),
        (f"{FIRST},x\n{SECOND},y\n".encode(), "its first line has a mobile"),
        (b"m\n\0\n", "is not a CSV file: it is not text"),
        ("手机\n1\n".encode("utf-16"), "is not a CSV file"),
        (b"m\n\xff\xff\n", "is neither UTF-8 nor GB18030"),
        (b"m\n" + b"x" * 200_000, "is not a CSV file: field larger than field limit (131072), in the row on line 2"),
        (b'm\n1\n"a\n1\n', "is not a CSV file: unexpected end of data, in the row on line 3"),
        (bytes.fromhex("D0CF11E0A1B11AE1"), "is an old Excel file (.xls), or one with a password; save it as .xlsx"),
        (b"PK\x03\x04\0\0\0", "is not an Excel workbook that can be read"),
    ],
)
def test_a_file_that_is_not_a_table_is_refused_with_what_to_do(path: Path, content: bytes, said: str) -> None:
    with pytest.raises(AudienceError) as caught:
        read(path, content)
    assert str(caught.value).startswith(f"{path} ")
    assert said in str(caught.value)


def test_a_row_that_is_not_csv_raises_when_it_is_reached(path: Path) -> None:
    content = b"m\n" + f"{FIRST}\n".encode() * 1000 + b'"a"b\n'
    path.write_bytes(content)
    with open_table(path) as table, pytest.raises(AudienceError, match="in the row on line 1002"):
        list(table.rows)


def test_a_file_that_is_missing_or_cannot_be_read_twice_is_refused(tmp_path: Path) -> None:
    reads, writes = os.pipe()
    os.write(writes, f"m\n{FIRST}\n".encode())
    for path, said in (
        (tmp_path / "none", "No such file"),
        (tmp_path, "Is a directory"),
        (Path(f"/dev/fd/{reads}"), "not seekable"),
    ):
        with pytest.raises(AudienceError, match=f"cannot be read: .*{said}.*; give the path of a CSV or Excel file"):
            read(path)
    os.close(reads)
    os.close(writes)


def test_what_goes_wrong_with_the_rows_elsewhere_is_not_the_files_fault(path: Path) -> None:
    path.write_bytes(f"m\n{FIRST}\n".encode())
    with pytest.raises(OSError, match="disk is full"), open_table(path):
        raise OSError("disk is full")

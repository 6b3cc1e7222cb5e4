"""The files that commands write."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from worker.cli.csv_file import cell, whole_file, write_sheet
from worker.cli.errors import Failed


@pytest.mark.parametrize(
    "text", ["=1+1", "+cmd|' /C calc'!A0", "-2+3", "@SUM(A1)", "\t=1", "\r=1", "\n=1", "＝1", "-", "-8\n", "+86 138"]
)
def test_what_a_spreadsheet_would_take_for_a_formula_is_text(text: str) -> None:
    assert cell(text) == f"'{text}"


@pytest.mark.parametrize("text", ["13800138000", "-8", "+1", "好的", "a=b", "", "' =1"])
def test_numbers_and_other_texts_stay_as_they_are(text: str) -> None:
    assert cell(text) == text


def test_nothing_is_blank_and_a_time_is_iso_8601() -> None:
    assert cell(None) == ""
    assert cell(datetime(2026, 11, 22, 4, tzinfo=UTC)) == "2026-11-22T04:00:00+00:00"


def test_a_file_is_whole_and_for_its_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "r.csv"
    write_sheet(path, ("a", "b"), [("好", None), ("x,y", 1)], total=2)
    assert path.read_bytes() == '\ufeffa,b\r\n好,\r\n"x,y",1\r\n'.encode()
    assert path.stat().st_mode & 0o777 == 0o600


def test_what_breaks_off_leaves_the_file_as_it_was_and_no_other(tmp_path: Path) -> None:
    path = tmp_path / "r.csv"
    path.write_text("before")
    with pytest.raises(ZeroDivisionError):
        write_sheet(path, ("a",), ((1 // zero,) for zero in (1, 0)), total=2)
    assert path.read_text() == "before"
    assert list(tmp_path.iterdir()) == [path]


def test_a_path_that_cannot_be_written_is_told_with_the_remedy(tmp_path: Path) -> None:
    with pytest.raises(Failed, match=r"cannot be written: .*; give --html another path"):
        whole_file(tmp_path / "nowhere" / "r.html", "--html").__enter__()

"""Reading an audience from a CSV file."""

from pathlib import Path

import pytest

from worker.cli.audience import Audience, Refusal, read_audience, values
from worker.cli.failures import Failed
from worker.domain.mobile import MobileFault

FIRST, SECOND = "13800138000", "13900139000"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "audience.csv"


def read(path: Path, content: bytes, column: str = "手机") -> Audience:
    path.write_bytes(content)
    return read_audience(values(path, column), lambda _: None)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "gb18030"])
def test_a_file_is_read_in_the_encodings_that_excel_writes(path: Path, encoding: str) -> None:
    text = f"姓名,手机\r\n王芳,{FIRST}\r\n"
    assert read(path, text.encode(encoding)).mobiles == {FIRST: 2}


def test_the_encoding_is_told_by_the_whole_file(path: Path) -> None:
    rows = "".join(f"a,{FIRST}\n" for _ in range(300_000))
    assert read(path, f"n,m\n{rows}王芳,{SECOND}\n".encode("gb18030"), "m").mobiles == {FIRST: 2, SECOND: 300_002}


def test_repeats_and_refusals_are_told_apart_with_the_lines_that_they_begin_on(path: Path) -> None:
    handed: list[Refusal] = []
    path.write_text(f'name,m\n"two\nlines",{FIRST}\n\nx,+86 {FIRST}\nshort\nx,123\n')
    audience = read_audience(values(path, "m"), handed.append)
    assert (audience.mobiles, audience.repeats) == ({FIRST: 2}, 1)
    assert audience.refused == {MobileFault.EMPTY: 1, MobileFault.TOO_SHORT: 1}
    assert handed == [Refusal(6, "", MobileFault.EMPTY), Refusal(7, "123", MobileFault.TOO_SHORT)]


def test_only_the_first_few_of_a_kind_are_kept(path: Path) -> None:
    audience = read(path, "手机\n".encode() + b"1\n" * 1000)
    assert audience.refused.total() == 1000
    assert [one.line for one in audience.examples[MobileFault.TOO_SHORT]] == [2, 3, 4]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "is empty"),
        (b"\n", "is empty"),
        (b"a,b\n1,2\n", "no column '手机'; give --column one of: a, b"),
        (b"PK\x03\x04\0\0\0", "is no CSV file"),
        ("手机\n1\n".encode("utf-16"), "is no CSV file"),
        (b'"a' + b"x" * 200_000, "is no CSV file"),
    ],
)
def test_what_is_no_such_file_is_refused_with_what_to_do(path: Path, content: bytes, said: str) -> None:
    with pytest.raises(Failed, match=said):
        read(path, content)

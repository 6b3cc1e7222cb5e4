"""Which column of a table has the mobiles, and which of its rows are left out, and why."""

import pytest

from worker.domain.campaigns.audience import (
    MAX_COLUMNS,
    MAX_ROW,
    AudienceError,
    Refusal,
    Row,
    RowFault,
    RowsLeftOut,
    good_rows,
    header_faults,
    mobile_column,
    repeat,
)
from worker.domain.campaigns.campaign import MAX_NAME, name_faults
from worker.domain.mobile import MobileFault

FIRST, SECOND = "13800138000", "13900139000"
PEOPLE: list[Row] = [(2, ["王芳", FIRST, "1"]), (3, ["李娜", "none", "2"]), (4, ["张伟", SECOND, "3"])]


@pytest.mark.parametrize("name", ["mobile", "Mobile Phone", "PHONE_NO", "手机", "手机号码", "联系电话", "Ｔｅｌ."])
def test_the_column_of_the_mobiles_is_known_by_its_name(name: str) -> None:
    assert mobile_column(("a", name, "b"), [(2, ["", "", ""])], None) == name


def test_a_column_that_is_named_is_taken_whatever_it_has() -> None:
    assert mobile_column(("name", "phone", "n"), PEOPLE, "n") == "n"


def test_where_no_name_says_so_it_is_the_one_column_that_mostly_has_mobiles() -> None:
    assert mobile_column(("name", "contact", "n"), PEOPLE, None) == "contact"
    assert mobile_column(("name", "contact", "n"), [(2, []), (3, ["x"]), (4, ["x", FIRST])], None) == "contact"


def test_of_several_columns_that_are_named_so_it_is_the_one_that_mostly_has_mobiles() -> None:
    rows: list[Row] = [(2, ["0755-26900602", FIRST])]
    assert mobile_column(("tel", "mobile"), rows, None) == "mobile"


@pytest.mark.parametrize(
    ("header", "rows", "wanted", "said"),
    [
        (("a", "b"), PEOPLE, "c", "has no column 'c'; give --column one of: a, b"),
        (("a", "b"), [(2, ["x", "y"])], None, "shows no column of mobiles; give --column one of: a, b"),
        (("a", "b"), [(2, [FIRST, SECOND])], None, "may have its mobiles in a or b; say which with --column"),
        (("tel", "mobile"), [(2, ["", ""])], None, "may have its mobiles in tel or mobile; say which with --column"),
        (("a", "b"), [(2, ["", ""])], None, "shows no column of mobiles"),
    ],
)
def test_where_none_or_several_may_be_it_the_columns_are_named(
    header: tuple[str, ...], rows: list[Row], wanted: str | None, said: str
) -> None:
    with pytest.raises(AudienceError) as caught:
        mobile_column(header, rows, wanted)
    assert said in str(caught.value)


def test_all_faults_of_a_header_are_reported_at_once() -> None:
    assert header_faults(("a", "", "b", "a", "")) == [
        "column 2 has no name; give it one, or remove it",
        "column 5 has no name; give it one, or remove it",
        "2 columns have the name 'a'; rename or remove all but one",
    ]
    assert header_faults(("mobile", "姓名")) == []


def test_a_header_has_a_thousand_columns_at_the_most() -> None:
    header = [f"c{n}" for n in range(MAX_COLUMNS)]
    assert header_faults(header) == []
    assert header_faults([*header, ""]) == [
        "it has 1,001 columns, and 1,000 are the most; remove those that no text needs"
    ]


def test_a_header_that_is_a_row_of_people_is_refused() -> None:
    assert header_faults(("王芳", FIRST)) == [
        f"its first line has a mobile, {FIRST}, and no names; put the names of the columns above it"
    ]


def test_rows_are_sorted_out_into_those_with_a_mobile_and_those_with_a_reason() -> None:
    refused: list[Refusal] = []
    rows: list[Row] = [
        (2, [f"+86 {FIRST}", "a"]),
        (3, ["123", "b"]),
        (4, [SECOND]),
        (5, [FIRST, "a", "", ""]),
        (6, [FIRST, "Smith", " John"]),
        (7, [FIRST, "x" * MAX_ROW]),
        (8, []),
    ]
    assert list(good_rows(rows, 2, 0, refused.append)) == [
        (2, FIRST, [f"+86 {FIRST}", "a"]),
        (4, SECOND, [SECOND, ""]),
        (5, FIRST, [FIRST, "a"]),
    ]
    assert [(refusal.line, refusal.value, refusal.fault) for refusal in refused] == [
        (3, "123", MobileFault.TOO_SHORT),
        (6, FIRST, RowFault.SURPLUS),
        (7, FIRST, RowFault.LONG),
        (8, "", MobileFault.EMPTY),
    ]


def test_rows_left_out_are_counted_by_reason_and_only_the_first_few_are_kept() -> None:
    refusals: list[Refusal] = []
    left_out = RowsLeftOut(refusals.append)
    for line in range(2, 1002):
        left_out.add(Refusal(line, "1", MobileFault.TOO_SHORT, MobileFault.TOO_SHORT))
    left_out.add(repeat(1002, FIRST, 7))
    assert (left_out.refused, left_out.repeats) == ({MobileFault.TOO_SHORT: 1000}, 1)
    assert [refusal.line for refusal in left_out.examples[MobileFault.TOO_SHORT]] == [2, 3, 4]
    assert len(refusals) == 1001
    assert refusals[-1].reason == "is on line 7 already"


@pytest.mark.parametrize("name", ["spring", "春装 2026", "x" * MAX_NAME])
def test_a_name_may_have_any_characters_that_can_be_seen(name: str) -> None:
    assert name_faults(name) == []


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("", ["is empty; give it 1 to 40 characters"]),
        (" a", ["begins or ends with a blank; remove it"]),
        ("a\N{IDEOGRAPHIC SPACE}", ["begins or ends with a blank; remove it"]),
        ("a\x1b[2Jb", ["has control characters; remove them"]),
        ("\udce4", ["has control characters; remove them"]),
        ("x" * 40 + "\n", ["has 41 characters, more", "begins or ends with a blank", "has control characters"]),
    ],
)
def test_all_faults_of_a_name_are_reported_at_once(name: str, said: list[str]) -> None:
    faults = name_faults(name)
    assert len(faults) == len(said)
    assert all(fault.startswith(beginning) for fault, beginning in zip(faults, said, strict=True))

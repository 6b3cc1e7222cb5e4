"""Audiences in the ledger: imported in parts, read in the order of their lines, removed in parts; on both databases."""

from collections.abc import Callable, Iterator, Sequence
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from campaign_driver import SPEC, Campaigns
from ledger_driver import NOW, Ledger, mobile

from worker.campaigns.files.table import PeopleTable, open_table
from worker.campaigns.import_audience import ABANDONED, import_audience, remove_audience
from worker.domain.campaigns.audience import Audience, AudienceError, Member, Origin, Refusal, Row, RowsLeftOut
from worker.domain.mobile import MobileFault
from worker.ledger import tables as t
from worker.ledger.campaigns import audiences
from worker.ledger.campaigns.audiences import PART
from worker.ledger.engine import reading


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "people.csv"


def take_in(
    ledger: Ledger, path: Path, name: str = "spring", *, now: datetime = NOW, left_out: RowsLeftOut | None = None
) -> int:
    with open_table(path) as table:
        return import_table(ledger, table, name, now=now, left_out=left_out)


def import_table(
    ledger: Ledger,
    table: PeopleTable,
    name: str = "spring",
    *,
    now: datetime = NOW,
    clock: Callable[[], datetime] | None = None,
    left_out: RowsLeftOut | None = None,
) -> int:
    return import_audience(
        ledger.engine,
        name,
        table,
        by="alice",
        clock=clock or (lambda: now),
        left_out=left_out or RowsLeftOut(),
    )


def people_csv(rows: Iterator[Row]) -> PeopleTable:
    return PeopleTable("people.csv", ("m", "name"), "m", rows, 0, int)


def many(count: int, start: int = 2) -> Iterator[Row]:
    return ((start + number, [mobile(number), f"n{number}"]) for number in range(count))


def remove(ledger: Ledger, name: str = "spring", now: datetime = NOW) -> None:
    remove_audience(ledger.engine, name, clock=lambda: now)


def find(ledger: Ledger, name: str = "spring") -> Audience | None:
    with reading(ledger.engine) as connection:
        return audiences.find(connection, name)


def after(ledger: Ledger, line: int, most: int, within: tuple[float, float] | None = None) -> list[Member]:
    audience = find(ledger)
    assert audience
    with reading(ledger.engine) as connection:
        return audiences.members_after(connection, audience.id, line, most=most, within=within)


def is_empty(ledger: Ledger) -> bool:
    return not ledger.rows(t.members) and not ledger.rows(t.audiences)


def leave_behind(ledger: Ledger, count: int) -> None:
    """Leaves an audience behind, as an import does that was killed after that many members."""
    with ledger.engine.begin() as connection:
        audience_id = audiences.begin(
            connection, "spring", Origin("people.csv", ("m", "name"), "m"), by="alice", now=NOW
        )
        assert audience_id is not None
        audiences.add(connection, audience_id, [Member(line, row[0], tuple(row)) for line, row in many(count)])


def test_each_mobile_is_a_member_once_with_all_that_its_row_has(ledger: Ledger, path: Path) -> None:
    path.write_text(
        f'姓名,手机,note\n"王\n芳",{mobile(1)},"a ""b"", \\c"\n李,12,\n张,+86 {mobile(2)},\n王,{mobile(1)},x\n'
    )
    refusals: list[Refusal] = []
    left_out = RowsLeftOut(refusals.append)
    assert take_in(ledger, path, left_out=left_out) == 2
    assert find(ledger) == Audience(
        id=1,
        name="spring",
        source=str(path),
        header=("姓名", "手机", "note"),
        mobile_column="手机",
        ready=True,
        good=2,
        repeats=1,
        refused=1,
        created_at=NOW,
        created_by="alice",
    )
    assert after(ledger, 0, 10) == [
        Member(2, mobile(1), ("王\n芳", mobile(1), 'a "b", \\c')),
        Member(5, mobile(2), ("张", f"+86 {mobile(2)}", "")),
    ]
    assert [(refusal.line, refusal.value, refusal.reason) for refusal in refusals] == [
        (4, "12", MobileFault.TOO_SHORT),
        (6, mobile(1), "is on line 2 already"),
    ]


def test_a_repeat_is_found_however_far_away_the_first_is(ledger: Ledger) -> None:
    refusals: list[Refusal] = []
    rows = [*many(PART + 3), *many(3, start=9000), (9100, [mobile(99_999), ""]), (9101, [mobile(99_999), ""])]
    assert import_table(ledger, people_csv(iter(rows)), left_out=RowsLeftOut(refusals.append)) == PART + 4
    assert [(refusal.line, refusal.reason) for refusal in refusals] == [
        (9000, "is on line 2 already"),
        (9001, "is on line 3 already"),
        (9002, "is on line 4 already"),
        (9101, "is on line 9100 already"),
    ]


def test_the_same_mobiles_may_be_in_two_audiences(ledger: Ledger) -> None:
    assert import_table(ledger, people_csv(many(3)), "a") == import_table(ledger, people_csv(many(3)), "b") == 3
    with reading(ledger.engine) as connection:
        assert [audience.name for audience in audiences.listed(connection)] == ["b", "a"]


def test_members_come_in_the_order_of_their_lines_so_many_at_a_time(ledger: Ledger) -> None:
    import_table(ledger, people_csv(many(7)))
    assert [member.line for member in after(ledger, 0, 3)] == [2, 3, 4]
    assert [member.line for member in after(ledger, 4, 10)] == [5, 6, 7, 8]
    assert after(ledger, 8, 10) == []


def test_a_share_of_an_audience_is_spread_over_it_and_the_rest_is_all_others(ledger: Ledger) -> None:
    import_table(ledger, people_csv(many(4000)))
    first, rest = ([member.line for member in after(ledger, 0, 9999, part)] for part in ((0, 0.1), (0.1, 1)))
    assert sorted(first + rest) == list(range(2, 4002))
    assert first == [line for line in range(2, 4002) if line * 2654435761 % 2**32 / 2**32 < 0.1]
    for begins in range(0, 4000, 500):
        assert 45 <= len([line for line in first if begins < line - 1 <= begins + 500]) <= 55
    assert [member.line for member in after(ledger, first[4], 3, (0, 0.1))] == first[5:8]


def test_the_last_lines_of_the_longest_files_have_their_places_too(ledger: Ledger) -> None:
    lines = range(2**31 - 100, 2**31)
    import_table(ledger, people_csv((line, [mobile(line % 100), ""]) for line in lines))
    inside = [line for line in lines if 0.25 <= line * 2654435761 % 2**32 / 2**32 < 0.5]
    assert [member.line for member in after(ledger, 0, 100, (0.25, 0.5))] == inside
    assert 15 < len(inside) < 35


def test_an_import_takes_as_many_statements_for_each_part_however_much_is_in_it(
    ledger: Ledger, statements: list[str]
) -> None:
    import_table(ledger, people_csv(many(2 * PART)))
    assert len([text for text in statements if "INTO members" in text]) == 2 * PART / 1000


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("", "the name '' is empty; give it 1 to 40 characters"),
        (" \n", "begins or ends with a blank; remove it; it has control characters; remove them"),
        ("taken", "there is an audience 'taken' already, of people.csv; choose another name"),
    ],
)
def test_a_name_that_will_not_do_is_refused_before_anything_is_read(ledger: Ledger, name: str, said: str) -> None:
    import_table(ledger, people_csv(many(1)), "taken")
    unread = many(3)
    with pytest.raises(AudienceError) as caught:
        import_table(ledger, people_csv(unread), name)
    assert said in str(caught.value)
    assert len(list(unread)) == 3


def test_of_a_file_that_is_found_to_be_none_in_the_middle_nothing_stays(ledger: Ledger, path: Path) -> None:
    path.write_text("m\n" + "\n".join(map(mobile, range(PART + 1))) + '\n"a"b\n')
    with pytest.raises(AudienceError, match="is not a CSV file"):
        take_in(ledger, path)
    assert is_empty(ledger)


def test_of_an_import_that_is_broken_off_nothing_stays(ledger: Ledger) -> None:
    def broken_off() -> Iterator[Row]:
        yield from many(PART + 1)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        import_table(ledger, people_csv(broken_off()))
    assert is_empty(ledger)


def test_a_file_without_a_good_row_is_refused_and_nothing_stays(ledger: Ledger, path: Path) -> None:
    path.write_text("mobile,n\n1,\n2,\n")
    left_out = RowsLeftOut()
    with pytest.raises(AudienceError, match="has no number in column 'mobile' that can be sent to"):
        take_in(ledger, path, left_out=left_out)
    assert is_empty(ledger)
    assert left_out.refused.total() == 2


def test_an_audience_is_not_ready_while_it_is_imported_and_nobody_else_imports_or_removes_it(ledger: Ledger) -> None:
    seen: list[bool] = []

    def looked_at() -> Iterator[Row]:
        yield from many(2 * PART)
        audience = find(ledger)
        seen.append(audience is not None and audience.ready)
        with pytest.raises(AudienceError, match=r"'spring' is being imported or removed, by alice; .* 120 seconds"):
            import_table(ledger, people_csv(many(1)), now=NOW + ABANDONED - timedelta(seconds=1))
        with pytest.raises(AudienceError, match="is being imported or removed"):
            remove(ledger)

    assert import_table(ledger, people_csv(looked_at())) == 2 * PART
    assert seen == [False]


def test_what_a_killed_import_left_gives_way_once_nobody_works_at_it(ledger: Ledger) -> None:
    leave_behind(ledger, PART + 1)
    with pytest.raises(AudienceError, match="is being imported or removed"):
        import_table(ledger, people_csv(many(2)))
    assert import_table(ledger, people_csv(many(2)), now=NOW + ABANDONED) == 2
    assert len(ledger.rows(t.members)) == 2


def test_what_a_killed_import_left_can_be_removed_once_nobody_works_at_it(ledger: Ledger) -> None:
    leave_behind(ledger, PART + 1)
    remove(ledger, now=NOW + ABANDONED)
    assert is_empty(ledger)


def test_an_import_that_was_given_up_adds_nothing_to_what_another_has_made_since(ledger: Ledger) -> None:
    now = [NOW]

    def stands_still() -> Iterator[Row]:
        yield from many(PART)
        # The part before is added; then it is suspended for longer than anybody waits.
        yield PART + 2, [mobile(PART), ""]
        now[0] = NOW + ABANDONED
        assert import_table(ledger, people_csv(many(2, start=50)), now=NOW + ABANDONED) == 2
        yield from many(PART, start=PART + 3)

    with pytest.raises(AudienceError, match="somebody else is importing or removing the audience 'spring'"):
        import_table(ledger, people_csv(stands_still()), clock=lambda: now[0])
    assert [member.line for member in after(ledger, 0, 10)] == [50, 51]
    audience = find(ledger)
    assert audience is not None
    assert (audience.ready, audience.good) == (True, 2)


def test_an_audience_is_removed_in_parts_and_no_other_is_touched(ledger: Ledger, statements: list[str]) -> None:
    import_table(ledger, people_csv(many(PART * 2)))
    import_table(ledger, people_csv(many(3)), "other")
    statements.clear()
    remove(ledger)
    assert len([text for text in statements if "DELETE FROM members" in text]) == 3
    assert [row["name"] for row in ledger.rows(t.audiences)] == ["other"]
    assert len(ledger.rows(t.members)) == 3


def test_removing_a_missing_audience_lists_those_that_exist(ledger: Ledger) -> None:
    with pytest.raises(AudienceError, match="there is no audience 'spring'; the audiences are: none yet"):
        remove(ledger)
    import_table(ledger, people_csv(many(1)), "other")
    with pytest.raises(AudienceError, match="there is no audience 'spring'; the audiences are: other"):
        remove(ledger)


def test_an_audience_of_campaigns_is_not_removed_and_they_are_named(ledger: Ledger) -> None:
    kept = Campaigns(ledger)
    import_table(ledger, people_csv(many(3)), SPEC.audience)
    kept.draft()
    with pytest.raises(AudienceError, match="the audience 'people' is that of spring; it stays as long as they do"):
        remove(ledger, SPEC.audience)
    audience = find(ledger, SPEC.audience)
    assert audience is not None
    assert (audience.ready, audience.created_at) == (True, NOW)


@pytest.mark.parametrize("fields", [("a\nb",), ("\u2028", "\x7f", "'"), ("{}", "\\N", "NULL", "")])
def test_what_a_row_has_comes_back_as_it_was(ledger: Ledger, fields: Sequence[str]) -> None:
    header = ("m", *(f"c{number}" for number in range(len(fields))))
    import_table(ledger, PeopleTable("people.csv", header, "m", iter([(2, [mobile(1), *fields])]), 0, int))
    assert after(ledger, 0, 1) == [Member(2, mobile(1), (mobile(1), *fields))]

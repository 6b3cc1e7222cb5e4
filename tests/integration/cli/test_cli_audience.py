"""`sms audience`: lists of people, imported, looked at and removed."""

import csv
from pathlib import Path

import pytest
from campaign_driver import SPEC, Campaigns
from ledger_driver import Ledger, mobile
from openpyxl import Workbook
from sms_command import sms, sms_json

from worker.ledger import tables as t

SAMPLE = Path(__file__).parents[2] / "samples" / "audience.csv"


@pytest.fixture(autouse=True)
def settings(monkeypatch: pytest.MonkeyPatch, ledger_url: str) -> None:
    monkeypatch.setenv("SMS_LEDGER_URL", ledger_url)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "people.csv"


def test_a_file_is_imported_and_shown(ledger: Ledger) -> None:
    said = sms_json("audience", "import", "spring", SAMPLE)
    assert said == {
        "name": "spring",
        "column": "mobile",
        "good": 4518,
        "repeats": 252,
        "refused": 230,
        "reasons": {"prefix": 65, "too_short": 58, "landline": 52, "empty": 30, "characters": 25},
    }
    [listed] = sms_json("audience", "list")
    assert (listed["name"], listed["good"], listed["ready"]) == ("spring", 4518, True)
    assert listed["created_by"].startswith("operator:")
    shown = sms_json("audience", "show", "spring")
    assert shown["header"] == ["mobile", "姓名", "amount", "due_date"]
    assert (shown["mobile_column"], shown["campaigns"], len(shown["first"])) == ("mobile", [], 5)
    assert shown["first"][0] == {
        "line": 3,
        "mobile": "16546848745",
        "fields": ["16546848745", "陈杰", "992.61", "2026-12-17"],
    }


def test_who_was_left_out_is_told_by_reason_and_written_to_a_file_repeats_too(ledger: Ledger, tmp_path: Path) -> None:
    shown = sms("audience", "import", "spring", SAMPLE, "--refusals", tmp_path / "refused.csv").stdout
    assert "52        is a landline" in shown
    assert "252       is a repeat of an earlier number" in shown
    assert shown.splitlines()[-1] == "4,518 good numbers, 252 repeats, 230 refused, by the column mobile"
    with (tmp_path / "refused.csv").open(encoding="utf-8", newline="") as file:
        refused = list(csv.DictReader(file))
    assert len(refused) == 230 + 252
    assert refused[0] == {"line": "2", "value": "0755-26900602", "reason": "is a landline"}
    assert {"line": "4", "value": "16546848745", "reason": "is on line 3 already"} in refused


def test_a_workbook_is_imported_by_the_sheet_and_the_column_that_are_named(ledger: Ledger, tmp_path: Path) -> None:
    workbook = Workbook()
    sheet = workbook.create_sheet("四月")
    sheet.append(["home", "own"])
    sheet.append([int(mobile(1)), float(mobile(2))])
    workbook.save(tmp_path / "people.xlsx")
    imported = sms_json("audience", "import", "a", tmp_path / "people.xlsx", "--sheet", "四月", "--column", "own")
    assert (imported["good"], imported["column"]) == (1, "own")
    assert ledger.rows(t.members)[0]["mobile"] == mobile(2)


@pytest.mark.parametrize(
    ("content", "options", "said"),
    [
        (f"a,b\n{mobile(1)},{mobile(2)}\n", (), "may have its mobiles in a or b; say which with --column"),
        (f"a\n{mobile(1)}\n", ("--column", "b"), "has no column 'b'; give --column one of: a"),
        (f"a\n{mobile(1)}\n", ("--refusals", "/no/such/f"), "/no/such/f cannot be written"),
        ("m\n123\n", ("--column", "m"), "has no number in column 'm' that can be sent to; nothing was imported"),
        ("\x1b[2J\n1\n", (), r"give --column one of: \x1b[2J"),
        ("", (), "is empty"),
    ],
)
def test_what_makes_no_audience_is_refused_with_the_reason_and_nothing_stays(
    ledger: Ledger, path: Path, content: str, options: tuple[str, ...], said: str
) -> None:
    path.write_text(content)
    result = sms("audience", "import", "spring", path, *options)
    assert result.exit_code == 1
    assert said in result.stderr
    assert not ledger.rows(t.audiences)


def test_a_name_that_is_taken_leaves_the_refusals_of_before_as_they_are(
    ledger: Ledger, path: Path, tmp_path: Path
) -> None:
    path.write_text(f"mobile\n{mobile(1)}\n123\n")
    refusals = ("--refusals", tmp_path / "refused.csv")
    assert sms("audience", "import", "spring", path, *refusals).exit_code == 0
    before = (tmp_path / "refused.csv").read_text()
    again = sms("audience", "import", "spring", path, *refusals)
    assert again.exit_code == 1
    assert "there is an audience 'spring' already" in again.stderr
    assert (tmp_path / "refused.csv").read_text() == before


def test_a_refused_value_is_no_formula_to_a_spreadsheet_and_is_read_again_as_it_was(
    ledger: Ledger, path: Path, tmp_path: Path
) -> None:
    values = ["=1+1", "''=1+1", "@A1", "+86 138", "-5", "0755-26900602"]
    path.write_text(f"mobile\n{mobile(1)}\n" + "".join(f"{value}\n" for value in values))
    first, second = tmp_path / "first.csv", tmp_path / "second.csv"
    assert sms("audience", "import", "spring", path, "--refusals", first).exit_code == 0
    # No message can be sent to any of these.
    sms("audience", "import", "again", first, "--column", "value", "--refusals", second)
    for file in (first, second):
        assert file.stat().st_mode & 0o777 == 0o600
        with file.open(encoding="utf-8", newline="") as rows:
            written = [row["value"] for row in csv.DictReader(rows)]
        assert written == ["'=1+1", "''=1+1", "'@A1", "'+86 138", "-5", "0755-26900602"]


def test_refusals_are_written_also_where_nobody_is_left(ledger: Ledger, path: Path, tmp_path: Path) -> None:
    path.write_text("mobile\n123\n")
    assert sms("audience", "import", "spring", path, "--refusals", tmp_path / "refused.csv").exit_code == 1
    assert (tmp_path / "refused.csv").read_text() == "line,value,reason\n2,123,is too short: a mobile has 11 digits\n"


def test_an_import_that_breaks_off_leaves_the_refusals_of_before_and_no_other_file(
    ledger: Ledger, path: Path, tmp_path: Path
) -> None:
    path.write_text("mobile\n123\n" + "".join(f"{mobile(n)}\n" for n in range(5000)) + '"not closed\n')
    folder = tmp_path / "refusals"
    folder.mkdir()
    refused = folder / "refused.csv"
    refused.write_text("before")
    assert sms("audience", "import", "spring", path, "--refusals", refused).exit_code == 1
    assert refused.read_text() == "before"
    assert list(folder.iterdir()) == [refused]


def test_refusals_that_would_overwrite_the_file_are_a_wrong_use(ledger: Ledger, path: Path) -> None:
    path.write_text(f"m\n{mobile(1)}\n")
    assert sms("audience", "import", "spring", path, "--refusals", path).exit_code == 2


def test_tables_fit_the_terminal_and_strangers_command_nothing(ledger: Ledger, path: Path) -> None:
    path.write_text(f"mobile,\x1b[31mname of a column that goes on and on\n{mobile(1)},\x1b[2J{'很长' * 200}\n")
    assert sms("audience", "import", "x" * 40, path).exit_code == 0
    for shown in (sms("audience", "list").stdout, sms("audience", "show", "x" * 40).stdout):
        assert "\x1b" not in shown
        assert r"\x1b" in shown
    assert all(len(line) <= 80 for line in sms("audience", "list").stdout.splitlines())
    assert mobile(1) in sms("audience", "show", "x" * 40).stdout


def test_an_audience_is_removed_unless_a_campaign_is_of_it(ledger: Ledger, path: Path) -> None:
    path.write_text(f"mobile\n{mobile(1)}\n")
    for name in (SPEC.audience, "other"):
        sms("audience", "import", name, path)
    Campaigns(ledger).draft()
    assert sms_json("audience", "show", SPEC.audience)["campaigns"] == ["spring"]
    refused = sms("audience", "remove", SPEC.audience)
    assert refused.exit_code == 1
    assert "is that of spring" in refused.stderr
    assert sms("audience", "remove", "other").stdout == "other is removed\n"
    assert [audience["name"] for audience in sms_json("audience", "list")] == [SPEC.audience]


@pytest.mark.parametrize("command", ["show", "remove"])
def test_an_audience_that_there_is_not_is_told(ledger: Ledger, command: str) -> None:
    result = sms("audience", command, "spring")
    assert result.exit_code == 1
    assert "there is no audience 'spring'; the audiences are: none yet" in result.stderr


def test_where_there_is_none_the_list_says_how_to_make_one(ledger: Ledger) -> None:
    assert "sms audience import NAME FILE" in sms("audience", "list").stdout

"""`sms optout`: the list of people who want no marketing."""

import csv
import io
import resource
from datetime import timedelta
from pathlib import Path

import pytest
from ledger_driver import NOW, Ledger, message, mobile, reply_push
from sms_command import sms, sms_json

from worker.ledger import tables as t
from worker.ledger.sending import accounts, optouts


@pytest.fixture(autouse=True)
def settings(monkeypatch: pytest.MonkeyPatch, ledger_url: str) -> None:
    monkeypatch.setenv("SMS_LEDGER_URL", ledger_url)


def listed(*args: object) -> dict[str, str]:
    """The reason of each mobile on the list."""
    return {optout["mobile"]: optout["why"] for optout in sms_json("optout", "list", *args)}


def test_who_is_added_is_listed_with_who_said_so_and_why(ledger: Ledger) -> None:
    done = sms("optout", "add", "+86 138-0000-0001", mobile(2), mobile(2), "--reason", "by phone")
    assert (done.exit_code, done.stdout) == (0, "2 mobiles added to the opt-out list of default\n")
    [second, first] = sms_json("optout", "list")
    assert (first["account"], first["mobile"], first["why"], first["msg_id"]) == (
        "default",
        mobile(1),
        "by phone",
        None,
    )
    assert first["said_by"].startswith("operator:")
    assert second["mobile"] == mobile(2)
    shown = sms("optout", "list").stdout
    assert mobile(1) in shown
    assert "by phone" in shown


def test_who_opted_out_before_stays_as_he_was_and_is_told(ledger: Ledger) -> None:
    ledger.sent_to(mobile(1), mobile(2), mobile(3))
    ledger.push(reply_push((mobile(1), "100", "TD")), NOW)
    done = sms("optout", "add", mobile(1), mobile(2), "--reason", "by phone")
    assert done.stdout == "1 mobile added to the opt-out list of default; 1 had opted out before\n"
    assert listed() == {mobile(1): "TD", mobile(2): "by phone"}


def test_all_that_is_no_mobile_is_told_at_once_and_nothing_is_added(ledger: Ledger) -> None:
    done = sms("optout", "add", "123", mobile(1), "010-12345678", "1380013800x", "--reason", "x")
    assert done.exit_code == 1
    assert "'123' is too short: a mobile has 11 digits; '010-12345678' is a landline; '1380013800x' has" in done.stderr
    assert "nothing was changed" in done.stderr
    assert ledger.rows(t.optouts) == []


def test_a_reason_is_asked_for(ledger: Ledger) -> None:
    assert sms("optout", "add", mobile(1)).exit_code == 2


def test_who_is_removed_is_sent_to_again(ledger: Ledger) -> None:
    sms("optout", "add", mobile(1), mobile(2), "--reason", "x")
    done = sms("optout", "remove", mobile(1))
    assert (done.exit_code, done.stdout) == (0, "1 mobile removed from the opt-out list of default\n")
    assert list(listed()) == [mobile(2)]
    ledger.accept(message("m", mobile(1), mobile(2), lane="marketing"))
    assert ledger.statuses() == {mobile(1): "queued", mobile(2): "suppressed"}


def test_who_is_not_on_the_list_is_told_and_nobody_is_removed(ledger: Ledger) -> None:
    sms("optout", "add", mobile(1), "--reason", "x")
    done = sms("optout", "remove", mobile(1), mobile(2))
    assert done.exit_code == 1
    assert f"{mobile(2)} did not opt out of default; nothing was changed" in done.stderr
    assert list(listed()) == [mobile(1)]


@pytest.mark.parametrize("command", [("add", "--reason", "x"), ("remove",)])
def test_an_account_that_there_is_not_is_told_with_those_that_there_are(ledger: Ledger, command: tuple[str]) -> None:
    done = sms("optout", *command, mobile(1), "--account", "shop")
    assert done.exit_code == 1
    assert "there is no account 'shop'; the accounts are: default" in done.stderr


def test_the_list_is_narrowed_and_says_how_many_more_there_are(ledger: Ledger) -> None:
    with ledger.engine.begin() as connection:
        ledger.account_ids |= accounts.register(connection, ["shop"], first_msg_id=1, now=NOW)
        for n, name in enumerate(("default", "default", "shop")):
            said = [(mobile(n), f"reason {n}", None)]
            at = NOW - timedelta(hours=n)
            optouts.add(connection, ledger.account_ids[name], said, since=at, set_by="operator:alice")
    assert list(listed()) == [mobile(0), mobile(1), mobile(2)]
    assert list(listed("--account", "shop")) == [mobile(2)]
    assert list(listed("--mobile", "+86 138 0000 0001")) == [mobile(1)]
    assert list(listed("--since", (NOW - timedelta(hours=1)).isoformat())) == [mobile(0), mobile(1)]
    shown = sms("optout", "list", "--limit", 1).stdout
    assert mobile(0) in shown
    assert "and 2 more" in shown
    assert sms("optout", "list", "--account", "nobody").stdout == "no opt-outs\n"
    assert sms("optout", "list", "--mobile", "123").exit_code == 2


def test_what_strangers_wrote_is_no_command_to_a_terminal(ledger: Ledger) -> None:
    sms("optout", "add", mobile(1), "--reason", "\x1b[2Jgone")
    assert "\x1b" not in sms("optout", "list").stdout
    assert sms_json("optout", "list")[0]["why"] == "\x1b[2Jgone"


def test_a_file_is_imported_and_what_is_no_mobile_in_it_is_told(ledger: Ledger, tmp_path: Path) -> None:
    file = tmp_path / "old.csv"
    file.write_text(f"name,手机\n王,{mobile(1)}\n李,+86 {mobile(2)}\n张,123\n赵,{mobile(1)}\n")
    done = sms("optout", "import", file)
    assert done.exit_code == 0, done.output
    assert done.stdout.endswith("2 mobiles added to the opt-out list of default\n")
    assert "line 4: 123" in done.stdout
    assert listed() == dict.fromkeys([mobile(2), mobile(1)], "from old.csv")
    again = sms("optout", "import", file, "--column", "手机", "--reason", "again")
    assert again.stdout.endswith("0 mobiles added to the opt-out list of default; 2 had opted out before\n")
    assert set(listed().values()) == {"from old.csv"}


def test_a_large_file_is_imported_in_parts(ledger: Ledger, tmp_path: Path) -> None:
    file = tmp_path / "many.csv"
    file.write_text("mobile\n" + "".join(f"{mobile(n)}\n" for n in range(12_000)))
    assert sms("optout", "import", file).stdout == "12,000 mobiles added to the opt-out list of default\n"
    assert len(ledger.rows(t.optouts)) == 12_000


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("mobile\n123\n", "has no mobile in column 'mobile'; nothing was added"),
        ('mobile\n13800000001\n"13800000002\n', "is not a CSV file"),
        (f"{mobile(1)}\n{mobile(2)}\n", "has a mobile"),
    ],
    ids=["nobody", "no end", "no header"],
)
def test_a_file_that_will_not_do_is_told_and_nobody_is_added(
    ledger: Ledger, tmp_path: Path, content: str, said: str
) -> None:
    file = tmp_path / "bad.csv"
    file.write_text(content)
    done = sms("optout", "import", file)
    assert done.exit_code == 1
    assert said in done.stderr
    assert ledger.rows(t.optouts) == []
    assert sms("optout", "import", tmp_path / "nowhere.csv").exit_code == 1


def test_what_is_exported_can_be_imported(ledger: Ledger, tmp_path: Path) -> None:
    ledger.sent_to(mobile(1), mobile(2), mobile(3))
    ledger.push(reply_push((mobile(1), "100", " 退订。")), NOW)
    sms("optout", "add", mobile(2), "--reason", 'said "no", twice')
    rows = list(csv.DictReader(io.StringIO(sms("optout", "export").stdout)))
    assert rows[0] == {
        "account": "default",
        "mobile": mobile(1),
        "since": NOW.isoformat(),
        "said_by": "reply",
        "push_id": "1",
        "why": " 退订。",
        "msg_id": "100",
    }
    assert (rows[1]["why"], rows[1]["msg_id"]) == ('said "no", twice', "")
    file = tmp_path / "optouts.csv"
    assert sms("optout", "export", "--csv", file).exit_code == 0
    assert file.read_bytes().startswith(b"\xef\xbb\xbfaccount,mobile,")
    assert len(list(csv.reader(io.StringIO(sms("optout", "export", "--account", "shop").stdout)))) == 1
    sms("optout", "remove", mobile(1), mobile(2))
    assert sms("optout", "import", file).stdout == "2 mobiles added to the opt-out list of default\n"


def test_a_file_that_cannot_be_written_is_told(ledger: Ledger, tmp_path: Path) -> None:
    done = sms("optout", "export", "--csv", tmp_path / "nowhere" / "x.csv")
    assert done.exit_code == 1
    assert "give --csv another path" in done.stderr


def test_what_is_exported_is_for_its_owner_alone_and_no_formula_to_a_spreadsheet(
    ledger: Ledger, tmp_path: Path
) -> None:
    ledger.sent_to(mobile(1), mobile(2), mobile(3))
    ledger.push(reply_push((mobile(1), "100", "TD")), NOW)
    sms("optout", "add", mobile(2), "--reason", "=HYPERLINK(A1)")
    file = tmp_path / "optouts.csv"
    assert sms("optout", "export", "--csv", file).exit_code == 0
    assert file.stat().st_mode & 0o777 == 0o600
    for written in (file.read_text("utf-8-sig"), sms("optout", "export").stdout):
        assert [(row["mobile"], row["why"]) for row in csv.DictReader(io.StringIO(written))] == [
            (mobile(1), "TD"),
            (mobile(2), "'=HYPERLINK(A1)"),
        ]


def test_an_export_that_breaks_off_leaves_the_file_of_before_and_no_other(ledger: Ledger, tmp_path: Path) -> None:
    with ledger.engine.begin() as connection:
        said = [(mobile(n), "x" * 80, None) for n in range(2000)]
        optouts.add(connection, ledger.account_ids["default"], said, since=NOW, set_by="operator:alice")
    folder = tmp_path / "exports"
    folder.mkdir()
    file = folder / "optouts.csv"
    file.write_text("before")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    # To a process that may write no larger file, a disk is full.
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
    try:
        done = sms("optout", "export", "--csv", file)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert (done.exit_code, "cannot be written: File too large" in done.stderr) == (1, True)
    assert file.read_text() == "before"
    assert list(folder.iterdir()) == [file]


def test_show_says_that_its_mobile_opted_out(ledger: Ledger) -> None:
    sms("optout", "add", mobile(1), "--reason", "x")
    ledger.accept(message("m", mobile(1), lane="marketing"))
    (recipient,) = sms_json("show", "m")["recipients"]
    assert recipient["status"] == "suppressed"
    assert recipient["reason"].startswith("it was left out: its mobile wants no marketing")


def test_the_optouts_of_a_push_are_undone_and_those_of_others_stay(ledger: Ledger) -> None:
    ledger.sent_to(mobile(1), mobile(2), mobile(3))
    forged = ledger.push(reply_push((mobile(1), "100", "TD"), (mobile(2), "100", "TD")), NOW)
    ledger.push(reply_push((mobile(2), "101", "TD"), (mobile(3), "100", "TD")), NOW + timedelta(minutes=1))
    assert {optout["mobile"]: optout["push_id"] for optout in sms_json("optout", "list")} == {
        mobile(1): forged,
        mobile(2): forged,
        mobile(3): forged + 1,
    }
    done = sms("optout", "undo", "--push", str(forged))
    assert done.stdout == "1 mobile removed from the opt-out list; 1 mobile opted out again later and stayed on it\n"
    assert {optout["mobile"] for optout in sms_json("optout", "list")} == {mobile(2), mobile(3)}
    missing = sms("optout", "undo", "--push", "99")
    assert (missing.exit_code, "there is no push 99" in missing.stderr) == (1, True)


def test_a_push_that_was_forged_again_and_again_is_undone_in_any_order_and_told_once(ledger: Ledger) -> None:
    ledger.sent_to(mobile(1), mobile(2))
    forged = reply_push((mobile(1), "100", "TD"), (mobile(2), "100", "TD"))
    push_ids = [ledger.push(forged, NOW + timedelta(minutes=n)) for n in range(3)]
    done = sms("optout", "undo", *(option for push_id in reversed(push_ids) for option in ("--push", str(push_id))))
    assert done.stdout == "2 mobiles removed from the opt-out list\n"
    assert sms_json("optout", "list") == []
    ledger.push(reply_push((mobile(2), "100", "T")), NOW + timedelta(minutes=9))
    assert sms("optout", "undo", "--push", str(push_ids[0])).stdout == "0 mobiles removed from the opt-out list\n"
    assert [optout["mobile"] for optout in sms_json("optout", "list")] == [mobile(2)]

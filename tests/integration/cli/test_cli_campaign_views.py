"""`sms campaign list`, `show`, `replies` and `report`."""

import csv
import io
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from xml.sax.saxutils import escape

import pytest
from campaign_driver import SPEC, Campaigns
from ledger_driver import Ledger, mobile, reply_push, status_push
from lxml import etree
from sms_command import sms, sms_json

from worker.domain.status import State
from worker.domain.submission import Recorded

EVIL = "=1+1 <script>alert(1)</script>"


@pytest.fixture(autouse=True)
def settings(monkeypatch: pytest.MonkeyPatch, ledger_url: str) -> None:
    monkeypatch.setenv("SMS_LEDGER_URL", ledger_url)


@pytest.fixture
def spring(ledger: Ledger) -> Campaigns:
    """A campaign of ten recipients in one call: three are delivered, one is undelivered. Two replied, and one of these
    opted out.
    """
    people = Campaigns(ledger)
    people.audience(10)
    people.start(SPEC)
    people.tick()
    [call] = ledger.pull(lane="marketing").claimed
    ledger.record(Recorded(call.id, call.attempt, State.ACCEPTED, None, "1", "成功"))
    ledger.push(status_push(*((mobile(number), call.msg_id, 1 if number < 3 else -1) for number in range(4))))
    ledger.push(reply_push((mobile(1), str(call.msg_id), escape(EVIL)), (mobile(2), str(call.msg_id), "T")))
    people.tick()
    return people


def test_list_show_and_report_tell_the_same(spring: Campaigns) -> None:
    [listed] = sms_json("campaign", "list")
    shown, reported = sms_json("campaign", "show", "spring"), sms_json("campaign", "report", "spring")
    figures = shown["figures"]
    assert (listed["members"], listed["made"], listed["remaining"]) == (10, 10, 0)
    assert (figures["members"], figures["made"], figures["remaining"]) == (10, 10, 0)
    assert figures["statuses"] == {"accepted": 6, "delivered": 3, "undelivered": 1}
    assert (figures["sent"], figures["delivered"], figures["failed"], figures["left_out"]) == (10, 3, 1, 0)
    assert (figures["replies"], figures["optouts"]) == (2, 1)
    assert reported["figures"] == figures | {"per_minute": reported["figures"]["per_minute"]}
    assert reported["results"] == [{"result": "1", "tips": "成功", "recipients": 10}]
    assert reported["prefixes"] == [
        {"prefix": "138", "carrier": "移动", "called": 10, "delivered": 3, "undelivered": 1}
    ]
    assert shown["state"] == listed["state"] == reported["state"] == "done"


def test_show_tells_people_the_figures_within_80_columns(spring: Campaigns) -> None:
    shown = sms("campaign", "show", "spring").stdout
    assert max(map(len, shown.splitlines())) <= 80
    lines = [" ".join(line.split()) for line in shown.splitlines()]
    assert "sent 10 100.0% delivered 3, undelivered 1, accepted 6" in lines
    assert "replies 2 20.0%" in lines
    assert "opt-outs 1 10.0%" in lines


def test_show_to_a_pipe_is_one_table_though_it_is_to_be_watched(spring: Campaigns) -> None:
    assert sms("campaign", "show", "spring", "--watch").stdout.count("opt-outs") == 1


def test_a_run_is_shown_by_itself_and_one_that_is_not_there_is_refused(spring: Campaigns) -> None:
    [run] = sms_json("campaign", "show", "spring")["runs"]
    assert sms_json("campaign", "show", "spring", "--run", run["id"])["figures"]["made"] == 10
    wrong = sms("campaign", "show", "spring", "--run", 999)
    assert wrong.exit_code == 1
    assert f"spring has no run 999; its runs are: {run['id']}" in wrong.stderr


@pytest.mark.parametrize("command", ["show", "replies", "report"])
def test_a_campaign_that_nobody_knows_is_told_with_those_there_are(spring: Campaigns, command: str) -> None:
    result = sms("campaign", command, "sprint")
    assert result.exit_code == 1
    assert "there is no campaign 'sprint'; the campaigns are: spring" in result.stderr


@pytest.mark.parametrize("command", ["show", "replies", "report"])
def test_a_draft_has_nothing_to_tell_but_its_members(ledger: Ledger, command: str) -> None:
    people = Campaigns(ledger)
    people.audience(4)
    people.draft()
    assert sms("campaign", command, "spring").exit_code == 0
    assert sms_json("campaign", "show", "spring")["figures"]["waiting"] == 4
    assert sms_json("campaign", "replies", "spring") == []


def test_list_without_any_says_how_to_make_one(ledger: Ledger) -> None:
    assert "sms campaign create" in sms("campaign", "list").stdout
    assert sms_json("campaign", "list") == []


def test_list_fits_80_columns_with_the_longest_names(ledger: Ledger) -> None:
    people = Campaigns(ledger)
    people.audience(1, name="a" * 40)
    people.draft(replace(SPEC, name="双" * 40, audience="a" * 40))
    shown = sms("campaign", "list").stdout
    # A Chinese character is two columns wide.
    assert max(len(line) + sum(char > "\u2e7f" for char in line) for line in shown.splitlines()) <= 80
    assert "".join(shown.split()).count("双") == 40


def test_replies_are_told_with_the_message_and_who_opted_out(spring: Campaigns) -> None:
    replies = sms_json("campaign", "replies", "spring")
    assert {(reply["mobile"], reply["content"], reply["optout"]) for reply in replies} == {
        (mobile(1), EVIL, False),
        (mobile(2), "T", True),
    }
    assert sms_json("show", replies[0]["message"])["content"] == SPEC.content
    shown = sms("campaign", "replies", "spring").stdout
    assert EVIL in shown
    assert "opt-out" in shown
    assert "and more" not in shown


def test_replies_beyond_the_limit_are_said_to_be_there(spring: Campaigns) -> None:
    assert "and more: see --limit and --csv" in sms("campaign", "replies", "spring", "--limit", 1).stdout
    assert len(sms_json("campaign", "replies", "spring", "--limit", 1)) == 1


def rows(text: str) -> Iterator[dict[str, str]]:
    return csv.DictReader(io.StringIO(text))


def test_a_reply_is_no_formula_in_a_spreadsheet(spring: Campaigns, tmp_path: Path) -> None:
    path = tmp_path / "replies.csv"
    assert sms("campaign", "replies", "spring", "--csv", path).exit_code == 0
    contents = {row["content"]: row["optout"] for row in rows(path.read_text(encoding="utf-8-sig"))}
    assert contents == {f"'{EVIL}": "", "T": "opt-out"}
    printed = sms("campaign", "replies", "spring", "--csv", "-").stdout
    assert {row["content"] for row in rows(printed)} == set(contents)


def test_the_report_has_a_row_for_each_recipient(spring: Campaigns, tmp_path: Path) -> None:
    path = tmp_path / "spring.csv"
    assert sms("campaign", "report", "spring", "--csv", path).exit_code == 0
    recipients = list(rows(path.read_text(encoding="utf-8-sig")))
    assert [row["status"] for row in sorted(recipients, key=lambda row: row["mobile"])] == [
        *["delivered"] * 3, "undelivered", *["accepted"] * 6
    ]  # fmt: skip
    assert {(row["result"], row["tips"], row["msg_id"]) for row in recipients} == {
        ("1", "成功", recipients[0]["msg_id"])
    }
    assert sms_json("show", recipients[0]["message"])["counts"] == {"accepted": 6, "delivered": 3, "undelivered": 1}
    assert list(rows(sms("campaign", "report", "spring", "--csv", "-").stdout)) == recipients


def test_the_report_is_a_page_on_which_no_text_is_markup(ledger: Ledger, tmp_path: Path) -> None:
    people = Campaigns(ledger)
    people.audience(2, name="<b>people</b>")
    people.start(replace(SPEC, name="<script>1</script>", audience="<b>people</b>", content="<i>好</i>，拒收请回复R"))
    people.tick()
    [call] = ledger.pull(lane="marketing").claimed
    ledger.record(Recorded(call.id, call.attempt, State.REJECTED, None, "-8", EVIL))
    path = tmp_path / "page.html"
    result = sms("campaign", "report", "<script>1</script>", "--html", path)
    assert result.exit_code == 0, result.output
    page = etree.fromstring(path.read_text(encoding="utf-8"))
    assert page.xpath("//script | //b[text()='people'] | //blockquote//i") == []
    assert page.xpath("string(//blockquote)") == "<i>好</i>，拒收请回复R"
    assert EVIL in " ".join(page.itertext())


def test_a_file_that_cannot_be_written_is_told(spring: Campaigns, tmp_path: Path) -> None:
    result = sms("campaign", "report", "spring", "--html", tmp_path / "no" / "page.html")
    assert result.exit_code == 1
    assert "give --html another path" in result.stderr


def test_what_would_both_be_printed_is_a_wrong_use(spring: Campaigns) -> None:
    assert sms("campaign", "report", "spring", "--json", "--csv", "-").exit_code == 2
    assert sms("campaign", "replies", "spring", "--json", "--csv", "-").exit_code == 2


def test_the_json_of_replies_is_one_list(spring: Campaigns) -> None:
    assert len(json.loads(sms("campaign", "replies", "spring", "--json").stdout)) == 2

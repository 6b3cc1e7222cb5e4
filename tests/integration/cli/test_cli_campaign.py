"""`sms campaign create`, `start`, `pause`, `resume`, `cancel` and `test`."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from campaign_driver import Campaigns
from ledger_driver import NOW, Ledger, mobile
from redis import Redis
from sms_command import sms, sms_json

from worker.domain.message_json import from_json
from worker.ledger import tables as t
from worker.redis_store import intake

TEXT = "尊敬的{{ 姓名 }}，您的账单已出"


@pytest.fixture(autouse=True)
def settings(monkeypatch: pytest.MonkeyPatch, ledger_url: str, redis_url: str) -> None:
    monkeypatch.setenv("SMS_LEDGER_URL", ledger_url)
    monkeypatch.setenv("SMS_REDIS_URL", redis_url)


@pytest.fixture
def people(ledger: Ledger) -> Campaigns:
    people = Campaigns(ledger)
    people.audience(0, fields=[(mobile(1), ""), (mobile(2), "朱明"), (mobile(3), "陈杰")])
    return people


def create(*options: str, name: str = "spring", text: str = TEXT):
    return sms("campaign", "create", name, "--audience", "people", "--text", text, *options)


def test_a_campaign_is_a_draft_until_it_is_started(people: Campaigns) -> None:
    created = create("--lane", "notice")
    assert (created.exit_code, created.stdout.split(";")[0]) == (0, "spring is a draft")
    campaign = people.find()
    assert (campaign.state, campaign.lane, campaign.content, campaign.audience) == ("draft", "notice", TEXT, "people")
    assert campaign.created_by.startswith("operator:")
    started = sms("campaign", "start", "spring")
    assert started.stdout.startswith("spring begins 20")
    assert people.find().state == "active"


def test_who_starts_it_is_told_when_its_hours_begin(people: Campaigns) -> None:
    create("--at", "2999-01-01T03:00")
    assert sms("campaign", "start", "spring").stdout.startswith(
        "spring begins 2999-01-01 08:00 CST, when its hours begin;"
    )


def test_its_text_may_be_in_a_file(people: Campaigns, tmp_path: Path) -> None:
    file = tmp_path / "text.txt"
    file.write_text("\ufeff会员日\n全场八折，拒收请回复R\r\n", encoding="utf-8")
    assert sms("campaign", "create", "spring", "--audience", "people", "--text-file", file).exit_code == 0
    assert people.find().content == "会员日\n全场八折，拒收请回复R"


def test_what_is_wrong_is_told_in_one_message_and_nothing_is_kept(people: Campaigns) -> None:
    refused = create("--zone", "Mars", "--cron", "soon", "--first", "all", text="尊敬的{{ 名字 }}")
    assert refused.exit_code == 1
    for part in ("--text line 1", "名字", "--zone 'Mars'", "--cron 'soon'", "--first 'all'", "nothing was kept"):
        assert part in refused.stderr
    assert people.ledger.rows(t.campaigns) == []


def test_one_text_is_given_and_not_two(people: Campaigns) -> None:
    assert sms("campaign", "create", "spring", "--audience", "people").exit_code == 2


def test_pause_resume_and_cancel_do_what_they_say_and_say_where_it_stands_if_they_cannot(people: Campaigns) -> None:
    create()
    refused = sms("campaign", "pause", "spring")
    assert (refused.exit_code, "spring is draft, not active" in refused.stderr) == (1, True)
    sms("campaign", "start", "spring")
    assert sms("campaign", "pause", "spring", "--reason", "wrong price").exit_code == 0
    assert (people.find().state, people.find().reason) == ("paused", "wrong price")
    assert sms("campaign", "resume", "spring").exit_code == 0
    assert sms("campaign", "cancel", "spring").exit_code == 0
    assert people.find().state == "cancelled"
    refused = sms("campaign", "cancel", "spring")
    assert (refused.exit_code, "spring is cancelled, not under way" in refused.stderr) == (1, True)


def test_a_campaign_that_is_not_there_is_told_with_those_that_are(people: Campaigns) -> None:
    create()
    refused = sms("campaign", "start", "autumn")
    assert (refused.exit_code, "there is no campaign 'autumn'; the campaigns are: spring" in refused.stderr) == (
        1,
        True,
    )


def test_a_time_that_passed_before_it_was_started_is_refused_unless_it_is_to_be_now(people: Campaigns) -> None:
    create("--at", "2999-01-01T09:00")
    with people.engine.begin() as connection:
        connection.execute(t.campaigns.update().values(next_at=NOW - timedelta(days=1)))
    refused = sms("campaign", "start", "spring")
    assert (refused.exit_code, "is past; start it with --now" in refused.stderr) == (1, True)
    assert sms("campaign", "start", "spring", "--now").exit_code == 0


def test_a_test_sends_the_text_of_the_first_row_that_makes_one(people: Campaigns, redis: Redis) -> None:
    create("--lane", "notice")
    done = sms("campaign", "test", "spring", "--to", f"{mobile(8)},{mobile(9)}")
    text, message_id = done.stdout.split()
    assert text == "尊敬的朱明，您的账单已出"
    message = _in_the_intake(redis, "notice", message_id)
    assert (message.to, message.content, message.lane) == ((mobile(8), mobile(9)), text, "notice")
    assert message.metadata == {"campaign": "spring", "test": True}
    assert people.find().state == "draft"


def test_a_test_may_be_of_any_line_and_in_another_lane(people: Campaigns, redis: Redis) -> None:
    create()
    done = sms("campaign", "test", "spring", "--to", mobile(8), "--line", "4", "--lane", "notice")
    assert _in_the_intake(redis, "notice", done.stdout.split()[-1]).content == "尊敬的陈杰，您的账单已出"


@pytest.mark.parametrize(("line", "said"), [("9", "line 9 of audience 'people' is not a member"), ("2", "line 2")])
def test_a_test_of_a_line_that_makes_no_text_says_so(people: Campaigns, line: str, said: str) -> None:
    create()
    refused = sms("campaign", "test", "spring", "--to", mobile(8), "--line", line)
    assert (refused.exit_code, said in refused.stderr) == (1, True)


def test_the_list_shows_it(people: Campaigns) -> None:
    create()
    (listed,) = sms_json("campaign", "list")
    assert (listed["name"], listed["state"]) == ("spring", "draft")


def _in_the_intake(redis: Redis, lane: str, message_id: str):
    return from_json(intake.take(redis, lane, now=datetime.now(UTC))[message_id.encode()])

"""A campaign is read with every fault at once, and kept as a draft."""

from dataclasses import replace

import pytest
from campaign_driver import (
    HOUR,
    SPEC,
    Campaigns,
)
from ledger_driver import NOW, mobile

from worker.campaigns.draft import BadCampaign, start_time
from worker.ledger import tables as t


def test_a_draft_does_nothing_until_it_is_started(people: Campaigns) -> None:
    people.audience(10)
    people.draft()
    people.tick()
    assert (people.runs(), people.mobiles(), people.find().state) == ([], [], "draft")


FAULTS = {
    "name": ("name", {"name": " "}),
    "audience": ("--audience 'nobody' is not an audience; the audiences are: people", {"audience": "nobody"}),
    "account": ("--account 'none' is unknown; the accounts are: default", {"account": "none"}),
    "an unknown column": ("--text", {"content": "尊敬的{{ 性别 }}"}),
    "a signature": ("--text the text carries a signature", {"content": "【某某】您好"}),
    "no text of any row": ("--text makes no text of any row: line 2", {"content": "您好{{ c2 }}"}),
    "a zone": ("--zone 'Mars' is not a time zone", {"time_zone": "Mars"}),
    "hours of no length": ("--hours '09:00-09:00': these hours have no length", {"hours": "09:00-09:00"}),
    "hours at night": ("--hours 22:00-23:00 have no moment in common with the hours of lane", {"hours": "22:00-23:00"}),
    "the past": ("--at 2026-11-22T11:00:00+08:00 is past", {"at": "2026-11-22T11:00"}),
    "no time": ("--at 'soon' is not a time", {"at": "soon"}),
    "two schedules": ("--at and --cron are two schedules", {"at": "2026-12-01T09:00", "cron": "0 9 * * *"}),
    "no cron line": ("--cron '61 * * * *' is not a cron line", {"cron": "61 * * * *"}),
    "a cron line that never comes": (
        "--cron '0 9 31 2 *' is not a cron line (bad day-of-month)",
        {"cron": "0 9 31 2 *"},
    ),
    "a share": ("--first 'all' is not a share", {"first": "all"}),
    "all of it": ("--stop-at '100%' is not a share", {"stop_at": "100%"}),
}


@pytest.mark.parametrize("kind", FAULTS)
def test_a_campaign_that_cannot_be_is_refused_before_anything_is_kept(people: Campaigns, kind: str) -> None:
    text, change = FAULTS[kind]
    people.audience(0, fields=[(mobile(1), "朱明", "")])
    with pytest.raises(BadCampaign) as why:
        people.draft(replace(SPEC, **change))
    assert text in str(why.value)
    assert people.ledger.rows(t.campaigns) == []


def test_all_faults_of_a_campaign_are_reported_at_once(people: Campaigns) -> None:
    with pytest.raises(BadCampaign) as why:
        people.draft(replace(SPEC, time_zone="Mars", first="all", cron="x", account="none"))
    assert [fault.field for fault in why.value.faults] == ["--account", "--audience", "--zone", "--cron", "--first"]


def test_a_name_is_given_once(people: Campaigns) -> None:
    people.audience(1)
    people.draft()
    with pytest.raises(BadCampaign, match="'spring' is taken"):
        people.draft()


def test_one_whose_time_has_passed_before_it_was_started_says_so(people: Campaigns) -> None:
    people.audience(1)
    people.draft(replace(SPEC, at="2026-11-22T15:00"))
    with pytest.raises(BadCampaign, match="is past; start it with --now"):
        start_time(people.find(), now=NOW + 5 * HOUR)

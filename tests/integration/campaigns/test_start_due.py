"""When a run of a campaign begins: at its time, late, or not at all."""

from collections import Counter
from dataclasses import replace

from campaign_driver import (
    AT_0800,
    AT_2100,
    HOUR,
    MINUTE,
    SECOND,
    SPEC,
    Campaigns,
    pull,
    send_all,
)
from ledger_driver import NOW, mobile

from worker.domain.campaigns.campaign import RunState


def test_one_that_is_started_at_night_waits_for_the_morning(people: Campaigns) -> None:
    people.audience(10)
    people.start(now=AT_2100)
    people.tick(AT_2100)
    assert (people.runs()[0].opens_at, people.mobiles()) == (AT_0800, [])
    people.tick(AT_0800)
    assert len(pull(people.ledger, AT_0800)) == 1


def test_it_begins_at_its_time_in_its_time_zone(people: Campaigns) -> None:
    people.audience(10)
    people.start(replace(SPEC, at="2026-11-22T15:00"))
    people.tick(NOW + 3 * HOUR - SECOND)
    assert people.runs() == []
    people.tick(NOW + 3 * HOUR)
    assert people.runs()[0].due_at == NOW + 3 * HOUR


def test_a_cron_line_makes_a_campaign_run_again_and_again(people: Campaigns) -> None:
    people.audience(60)
    people.start(replace(SPEC, cron="0 9 * * *"))
    for day in (0, 1):
        send_all(people, AT_0800 + HOUR + day * 24 * HOUR)
    assert [run.state for run in people.runs()] == ["done", "done"]
    assert Counter(people.mobiles()) == {mobile(number): 2 for number in range(60)}
    assert (people.find().state, people.find().next_at) == ("active", AT_0800 + 49 * HOUR)


def test_runs_that_were_due_while_beat_was_down_are_one_that_begins_late(people: Campaigns) -> None:
    people.audience(10)
    people.start(replace(SPEC, cron="0 9 * * *"))
    late = AT_0800 + 75 * HOUR
    people.tick(late)
    ((run),) = people.runs()
    assert (run.due_at, run.started_at, run.state) == (AT_0800 + HOUR, late, "running")
    assert people.find().next_at == AT_0800 + 97 * HOUR


def test_a_run_that_was_due_while_beat_was_down_is_skipped_where_that_is_the_choice(people: Campaigns) -> None:
    people.audience(10)
    people.start(replace(SPEC, cron="0 9 * * *", missed="skip"))
    people.tick(AT_0800 + HOUR + 2 * MINUTE)
    assert [(run.state, run.reason) for run in people.runs()] == [
        (RunState.SKIPPED, "beat or the workers were down, or the campaign was paused, when it was due")
    ]
    people.tick(AT_0800 + 25 * HOUR + SECOND)
    assert [run.state for run in people.runs()] == ["running", "skipped"]


def test_a_run_that_is_due_while_the_one_before_is_under_way_is_skipped(people: Campaigns) -> None:
    people.audience(100)
    people.start(replace(SPEC, cron="0 9 * * *"))
    people.tick(AT_0800 + HOUR)
    people.tick(AT_0800 + 25 * HOUR)
    assert [(run.state, run.reason) for run in people.runs()] == [
        ("skipped", "the run before it was still under way"),
        ("running", None),
    ]

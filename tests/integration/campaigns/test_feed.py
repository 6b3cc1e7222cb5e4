"""A campaign from draft to done, as beat and the workers have it go; the time is an argument."""

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import chain, repeat
from threading import Barrier

import pytest
from campaign_driver import SPEC, Campaigns, window_of
from ledger_driver import NOW, Ledger, message, mobile, status_push

from worker.campaigns.draft import BadCampaign, start_time
from worker.campaigns.feed import LONGEST, FeedOutcome
from worker.campaigns.start_due import start_due
from worker.domain.campaigns.campaign import RunState
from worker.domain.status import State
from worker.ledger import tables as t
from worker.ledger.sending import claims, gates
from worker.ledger.sending.claims import Claimed
from worker.ledger.sending.submissions import Recorded
from worker.redis_store.rate import Grant

SECOND, MINUTE, HOUR = timedelta(seconds=1), timedelta(minutes=1), timedelta(hours=1)
AT_2059 = datetime(2026, 11, 22, 12, 59, tzinfo=UTC)
AT_2100 = datetime(2026, 11, 22, 13, 0, tzinfo=UTC)
AT_0800 = datetime(2026, 11, 23, 0, 0, tzinfo=UTC)


@pytest.fixture
def of(ledger: Ledger) -> Campaigns:
    return Campaigns(ledger)


def pull(ledger: Ledger, now: datetime = NOW, most: int = 10_000) -> list[Claimed]:
    return list(ledger.pull(now, lane="marketing", most=most).claimed)


def accepted(ledger: Ledger, claimed: list[Claimed], now: datetime = NOW) -> None:
    if claimed:
        ledger.record(*(Recorded(one.id, one.attempt, State.ACCEPTED, None, "1", "成功") for one in claimed), now=now)


def send_all(of: Campaigns, now: datetime = NOW) -> list[Claimed]:
    """Ticks and pulls until nothing is left, as fast as can be."""
    sent: list[Claimed] = []
    while True:
        of.tick(now)
        claimed = pull(of.ledger, now)
        accepted(of.ledger, claimed, now)
        sent += claimed
        if not claimed:
            return sent


def test_a_draft_does_nothing_until_it_is_started(of: Campaigns) -> None:
    of.audience(10)
    of.draft()
    of.tick()
    assert (of.runs(), of.mobiles(), of.find().state) == ([], [], "draft")


def test_everybody_in_the_audience_is_sent_to_once_in_full_calls_and_then_it_is_done(of: Campaigns) -> None:
    of.audience(25_001)
    of.start()
    sent = send_all(of)
    assert Counter(len(one.mobiles) for one in sent) == {50: 500, 1: 1}
    assert sorted(one for call in sent for one in call.mobiles) == sorted(map(mobile, range(25_001)))
    assert {call.content for call in sent} == {SPEC.content}
    assert (of.find().state, [run.state for run in of.runs()]) == ("done", ["done"])
    assert set(of.rung) == {"marketing"}


def test_a_personal_text_goes_one_by_one_and_the_same_text_together(of: Campaigns) -> None:
    rows = [(mobile(number), f"客户{number % 4}") for number in range(8)]
    of.audience(0, fields=rows)
    of.start(replace(SPEC, content="尊敬的{{ 姓名 }}，您好"))
    sent = send_all(of)
    assert {call.content: len(call.mobiles) for call in sent} == {f"尊敬的客户{number}，您好": 2 for number in range(4)}


def test_a_row_that_makes_no_text_is_left_out_and_counted(of: Campaigns) -> None:
    of.audience(0, fields=[(mobile(1), "朱明"), (mobile(2), ""), (mobile(3), "陈杰")])
    of.start(replace(SPEC, content="尊敬的{{ 姓名 }}，您好"))
    send_all(of)
    assert sorted(of.mobiles()) == [mobile(1), mobile(3)]
    ((run),) = of.runs()
    assert (run.expanded, run.unrenderable, run.state) == (2, 1, "done")


def test_only_some_thousand_of_a_large_run_wait_in_the_ledger(of: Campaigns) -> None:
    rows = [(mobile(number), str(number)) for number in range(5_000)]
    of.audience(0, fields=rows)
    of.start(replace(SPEC, content="您的号码是{{ 姓名 }}"))
    of.tick()
    assert of.ledger.states() == {"queued": 2000}
    of.tick()
    assert of.ledger.states() == {"queued": 2000}
    accepted(of.ledger, pull(of.ledger, most=300))
    of.tick()
    assert of.ledger.states() == {"queued": 2700, "accepted": 300}


def test_however_many_beats_and_workers_there_are_each_run_begins_once_and_each_member_is_sent_to_once(
    of: Campaigns,
) -> None:
    rows = [(mobile(number), str(number)) for number in range(3_000)]
    of.audience(0, fields=rows)
    of.start(replace(SPEC, content="您的号码是{{ 姓名 }}"))
    together = Barrier(6)

    def tick(_: int) -> None:
        together.wait()
        for _ in range(3):
            of.tick()

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(tick, range(6)))
    assert len(of.runs()) == 1
    assert sorted(of.mobiles()) == sorted({one for one, _ in rows} & set(of.mobiles()))
    send_all(of)
    assert sorted(of.mobiles()) == [one for one, _ in rows]


def test_of_a_campaign_that_is_paused_just_after_a_look_nothing_is_claimed(of: Campaigns) -> None:
    of.audience(200)
    of.start()
    of.tick()
    for n in range(20):
        of.ledger.accept(message(f"m{n}", mobile(500 + n), content=f"{n}", lane="marketing", caller="shop"))
    # One of the two queues has its turn, and the rate is used up: the other is in the look that is kept.
    pulled = of.ledger.pull(lane="marketing", most=4, allow=lambda *_: Grant(1, 0.1))
    assert len(pulled.look.queues) == 2
    assert of.pause()
    pulled = of.ledger.pull(lane="marketing", most=10, last=pulled.look)
    assert {one.content for one in pulled.claimed} <= {str(n) for n in range(20)}


def test_a_launch_makes_some_messages_however_long_it_takes_to_look_at_the_results(of: Campaigns) -> None:
    of.audience(200)
    of.start(replace(SPEC, stop_at="10%"))
    start_due(of.engine, window=window_of, now=NOW)
    late = chain([NOW], repeat(NOW + LONGEST))
    assert of.feed(of.runs()[0].id, clock=lambda: next(late)) is FeedOutcome.MORE
    assert len(of.mobiles()) == 200


def test_of_a_paused_campaign_nothing_is_called_until_it_is_resumed(of: Campaigns) -> None:
    of.audience(200)
    of.start()
    of.tick()
    assert len(pull(of.ledger, most=1)) == 1
    assert of.pause()
    assert (pull(of.ledger), of.find().reason) == ([], "wrong price")
    with of.engine.connect() as connection:
        assert claims.queues(connection, "marketing", now=NOW) == []
    of.tick()
    assert not of.pause()
    assert of.resume()
    assert len(pull(of.ledger)) == 3


def test_a_paused_campaign_does_not_probe_a_closed_gate(of: Campaigns) -> None:
    of.audience(10)
    of.start()
    of.tick()
    of.pause()
    with of.engine.begin() as connection:
        gates.close(connection, of.ledger.account_ids["default"], "-3", now=NOW, until=NOW)
    assert of.ledger.claim_probe(NOW + MINUTE) == []
    of.resume()
    assert len(of.ledger.claim_probe(NOW + MINUTE)) == 1


def test_what_is_not_called_of_a_cancelled_campaign_never_is(of: Campaigns) -> None:
    of.audience(500)
    of.start()
    of.tick()
    calls = pull(of.ledger, most=2)
    assert of.cancel()
    of.tick()
    assert pull(of.ledger) == []
    accepted(of.ledger, calls)
    assert of.ledger.states() == {"accepted": 2, "cancelled": 8}
    assert (of.find().state, of.runs()[0].state) == ("cancelled", "cancelled")
    assert not of.resume()
    assert not of.cancel()


def test_what_may_have_been_taken_is_unknown_when_its_campaign_is_cancelled(of: Campaigns) -> None:
    of.audience(1)
    of.start()
    of.tick()
    (call,) = pull(of.ledger)
    of.ledger.record(Recorded(call.id, call.attempt, State.HELD, NOW + MINUTE, None, None, resent=True))
    of.cancel()
    assert of.ledger.states() == {"unknown": 1}


def test_a_campaign_stops_at_2100_and_goes_on_at_0800(of: Campaigns) -> None:
    of.audience(200)
    of.start(now=AT_2059)
    of.tick(AT_2059)
    early = pull(of.ledger, AT_2059, most=1)
    assert len(early) == 1
    for night in (AT_2100, AT_2100 + HOUR, AT_0800 - SECOND):
        of.tick(night)
        assert pull(of.ledger, night) == []
    of.tick(AT_0800)
    late = pull(of.ledger, AT_0800)
    accepted(of.ledger, early + late, AT_0800)
    assert len(late) == 3
    of.tick(AT_0800)
    assert of.find().state == "done"


def test_a_campaign_has_hours_of_its_own_within_those_of_its_lane(of: Campaigns) -> None:
    of.audience(200)
    of.start(replace(SPEC, hours="07:00-12:30"))
    of.tick()
    assert len(pull(of.ledger, NOW + 29 * MINUTE, most=1)) == 1
    assert pull(of.ledger, NOW + 30 * MINUTE) == []
    of.tick(NOW + 31 * MINUTE)
    of.tick(AT_0800 - SECOND)
    assert pull(of.ledger, AT_0800 - SECOND) == []
    assert len(pull(of.ledger, AT_0800)) == 3


def test_what_is_not_out_when_the_hours_end_expires_where_that_is_the_choice(of: Campaigns) -> None:
    of.audience(200)
    of.start(replace(SPEC, leftover="expire"), AT_2059)
    of.tick(AT_2059)
    accepted(of.ledger, pull(of.ledger, AT_2059, most=1))
    of.tick(AT_2100)
    of.ledger.expire(AT_2100)
    assert of.ledger.states() == {"accepted": 1, "expired": 3}
    assert (of.find().state, of.runs()[0].state) == ("done", "expired")
    of.tick(AT_0800)
    assert pull(of.ledger, AT_0800) == []


def test_one_that_is_started_at_night_waits_for_the_morning(of: Campaigns) -> None:
    of.audience(10)
    of.start(now=AT_2100)
    of.tick(AT_2100)
    assert (of.runs()[0].opens_at, of.mobiles()) == (AT_0800, [])
    of.tick(AT_0800)
    assert len(pull(of.ledger, AT_0800)) == 1


def test_it_begins_at_its_time_in_its_time_zone(of: Campaigns) -> None:
    of.audience(10)
    of.start(replace(SPEC, at="2026-11-22T15:00"))
    of.tick(NOW + 3 * HOUR - SECOND)
    assert of.runs() == []
    of.tick(NOW + 3 * HOUR)
    assert of.runs()[0].due_at == NOW + 3 * HOUR


def test_a_cron_line_has_it_run_again_and_again(of: Campaigns) -> None:
    of.audience(60)
    of.start(replace(SPEC, cron="0 9 * * *"))
    for day in (0, 1):
        send_all(of, AT_0800 + HOUR + day * 24 * HOUR)
    assert [run.state for run in of.runs()] == ["done", "done"]
    assert Counter(of.mobiles()) == {mobile(number): 2 for number in range(60)}
    assert (of.find().state, of.find().next_at) == ("active", AT_0800 + 49 * HOUR)


def test_runs_that_were_due_while_beat_was_down_are_one_that_begins_late(of: Campaigns) -> None:
    of.audience(10)
    of.start(replace(SPEC, cron="0 9 * * *"))
    late = AT_0800 + 75 * HOUR
    of.tick(late)
    ((run),) = of.runs()
    assert (run.due_at, run.started_at, run.state) == (AT_0800 + HOUR, late, "running")
    assert of.find().next_at == AT_0800 + 97 * HOUR


def test_a_run_that_was_due_while_beat_was_down_is_skipped_where_that_is_the_choice(of: Campaigns) -> None:
    of.audience(10)
    of.start(replace(SPEC, cron="0 9 * * *", missed="skip"))
    of.tick(AT_0800 + HOUR + 2 * MINUTE)
    assert [(run.state, run.reason) for run in of.runs()] == [
        (RunState.SKIPPED, "nobody was there to start it at its time")
    ]
    of.tick(AT_0800 + 25 * HOUR + SECOND)
    assert [run.state for run in of.runs()] == ["running", "skipped"]


def test_a_run_that_is_due_while_the_one_before_is_under_way_is_skipped(of: Campaigns) -> None:
    of.audience(100)
    of.start(replace(SPEC, cron="0 9 * * *"))
    of.tick(AT_0800 + HOUR)
    of.tick(AT_0800 + 25 * HOUR)
    assert [(run.state, run.reason) for run in of.runs()] == [
        ("skipped", "the run before it was still under way"),
        ("running", None),
    ]


def test_a_share_goes_first_and_then_it_asks(of: Campaigns) -> None:
    of.audience(10_000)
    of.start(replace(SPEC, first="1%"))
    first = [one for call in send_all(of) for one in call.mobiles]
    assert 90 <= len(first) <= 110
    assert len({int(one) // 1000 for one in first}) == 10, "they are spread over all of the file"
    assert (of.find().state, of.find().set_by) == ("paused", "the campaign itself")
    assert "its first 1.0% is out" in str(of.find().reason)
    of.resume()
    rest = [one for call in send_all(of) for one in call.mobiles]
    assert sorted(first + rest) == sorted(map(mobile, range(10_000)))
    assert of.find().state == "done"


def test_the_first_share_is_out_only_when_its_last_call_is(of: Campaigns) -> None:
    of.audience(10_000)
    of.start(replace(SPEC, first="1%"))
    of.tick()
    calls = pull(of.ledger)
    of.tick()
    assert of.find().state == "active"
    accepted(of.ledger, calls)
    of.tick()
    assert of.find().state == "paused"


def test_it_stops_by_itself_when_too_many_are_undelivered_and_a_person_may_have_it_go_on(of: Campaigns) -> None:
    rows = [(mobile(number), str(number)) for number in range(3_000)]
    of.audience(0, fields=rows)
    of.start(replace(SPEC, content="您的号码是{{ 姓名 }}", stop_at="5%"))
    of.tick()
    calls = pull(of.ledger, most=200)
    accepted(of.ledger, calls)
    of.ledger.push(
        status_push(*((one.mobiles[0], one.msg_id, -1 if n < 5 else 1) for n, one in enumerate(calls[:100])))
    )
    of.tick(NOW + 5 * SECOND)
    assert of.find().state == "active", "5 of 100 are not more than 5%"
    of.ledger.push(status_push(*((one.mobiles[0], one.msg_id, -1) for one in calls[100:102])))
    of.tick(NOW + 6 * SECOND)
    assert of.find().state == "active", "nobody looks again so soon"
    of.tick(NOW + 11 * SECOND)
    assert (of.find().state, of.find().set_by) == ("paused", "the campaign itself")
    assert of.find().reason == "7 of 102 results are rejected, undelivered or unknown, more than 5.0%"
    of.resume(NOW + MINUTE)
    of.tick(NOW + MINUTE)
    assert of.find().state == "active", "what a person has seen stops it no more"


@pytest.mark.parametrize("bad", [State.REJECTED, State.UNKNOWN])
def test_a_text_that_is_rejected_or_nobody_knows_about_stops_it_too(of: Campaigns, bad: State) -> None:
    of.audience(10_000)
    of.start(replace(SPEC, stop_at="50%"))
    of.tick()
    calls = pull(of.ledger, most=3)
    of.ledger.record(*(Recorded(one.id, one.attempt, bad, None, None, "签名不对") for one in calls))
    of.tick(NOW + 5 * SECOND)
    assert of.find().reason == "150 of 150 results are rejected, undelivered or unknown, more than 50.0%"


def test_a_message_of_a_run_is_known_as_its(of: Campaigns) -> None:
    of.audience(2_500)
    of.start()
    of.tick()
    ((run),) = of.runs()
    rows = of.ledger.rows(t.messages)
    assert [row["run_id"] for row in rows] == [run.id] * 3
    assert {row["caller"] for row in of.ledger.rows(claims.submissions)} == {f"campaign/{run.id}"}


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
def test_a_campaign_that_cannot_be_is_refused_before_anything_is_kept(of: Campaigns, kind: str) -> None:
    text, change = FAULTS[kind]
    of.audience(0, fields=[(mobile(1), "朱明", "")])
    with pytest.raises(BadCampaign) as why:
        of.draft(replace(SPEC, **change))
    assert text in str(why.value)
    assert of.ledger.rows(t.campaigns) == []


def test_all_that_is_wrong_is_told_at_once(of: Campaigns) -> None:
    with pytest.raises(BadCampaign) as why:
        of.draft(replace(SPEC, time_zone="Mars", first="all", cron="x", account="none"))
    assert [fault.field for fault in why.value.faults] == ["--account", "--audience", "--zone", "--cron", "--first"]


def test_a_name_is_given_once(of: Campaigns) -> None:
    of.audience(1)
    of.draft()
    with pytest.raises(BadCampaign, match="'spring' is taken"):
        of.draft()


def test_one_whose_time_has_passed_before_it_was_started_says_so(of: Campaigns) -> None:
    of.audience(1)
    of.draft(replace(SPEC, at="2026-11-22T15:00"))
    with pytest.raises(BadCampaign, match="is past; start it with --now"):
        start_time(of.find(), now=NOW + 5 * HOUR)


def test_campaigns_and_others_who_send_have_equal_shares(of: Campaigns) -> None:
    of.audience(5_000)
    of.start()
    of.tick()
    others = [mobile(number) for number in range(90_000, 90_020)]
    of.ledger.accept(message("m", *others, lane="marketing", caller="shop"), max_mobiles=1)
    calls = pull(of.ledger, most=10)
    assert sum(call.mobiles[0] in others for call in calls) == 5

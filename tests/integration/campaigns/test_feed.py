"""A campaign from draft to done, by the verbs that beat and the workers call; the time is an argument."""

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import chain, repeat
from threading import Barrier

import pytest
from campaign_driver import (
    AT_0800,
    AT_2059,
    AT_2100,
    HOUR,
    MINUTE,
    SECOND,
    SPEC,
    Campaigns,
    accepted,
    pull,
    send_all,
    window_of,
)
from ledger_driver import NOW, message, mobile, status_push

from worker.campaigns.feed import MAX_FEED_TIME, FeedOutcome
from worker.campaigns.start_due import start_due
from worker.domain.status import State
from worker.domain.submission import Recorded
from worker.ledger import tables as t
from worker.ledger.sending import claims, gates
from worker.redis_store.rate import Grant


def test_everybody_in_the_audience_is_sent_to_once_in_full_calls_and_then_it_is_done(people: Campaigns) -> None:
    people.audience(25_001)
    people.start()
    sent = send_all(people)
    assert Counter(len(call.mobiles) for call in sent) == {50: 500, 1: 1}
    assert sorted(chain.from_iterable(call.mobiles for call in sent)) == sorted(map(mobile, range(25_001)))
    assert {call.content for call in sent} == {SPEC.content}
    assert (people.find().state, [run.state for run in people.runs()]) == ("done", ["done"])
    assert set(people.rung) == {"marketing"}


def test_a_personal_text_goes_one_by_one_and_the_same_text_together(people: Campaigns) -> None:
    rows = [(mobile(number), f"客户{number % 4}") for number in range(8)]
    people.audience(0, fields=rows)
    people.start(replace(SPEC, content="尊敬的{{ 姓名 }}，您好"))
    sent = send_all(people)
    assert {call.content: len(call.mobiles) for call in sent} == {f"尊敬的客户{number}，您好": 2 for number in range(4)}


def test_a_row_that_makes_no_text_is_left_out_and_counted(people: Campaigns) -> None:
    people.audience(0, fields=[(mobile(1), "朱明"), (mobile(2), ""), (mobile(3), "陈杰")])
    people.start(replace(SPEC, content="尊敬的{{ 姓名 }}，您好"))
    send_all(people)
    assert sorted(people.mobiles()) == [mobile(1), mobile(3)]
    ((run),) = people.runs()
    assert (run.expanded, run.unrenderable, run.state) == (2, 1, "done")


def test_only_some_thousand_of_a_large_run_wait_in_the_ledger(people: Campaigns) -> None:
    rows = [(mobile(number), str(number)) for number in range(5_000)]
    people.audience(0, fields=rows)
    people.start(replace(SPEC, content="您的号码是{{ 姓名 }}"))
    people.tick()
    assert people.ledger.states() == {"queued": 2000}
    people.tick()
    assert people.ledger.states() == {"queued": 2000}
    accepted(people.ledger, pull(people.ledger, most=300))
    people.tick()
    assert people.ledger.states() == {"queued": 2700, "accepted": 300}


def test_however_many_beats_and_workers_there_are_each_run_begins_once_and_each_member_is_sent_to_once(
    people: Campaigns,
) -> None:
    rows = [(mobile(number), str(number)) for number in range(3_000)]
    people.audience(0, fields=rows)
    people.start(replace(SPEC, content="您的号码是{{ 姓名 }}"))
    together = Barrier(6)

    def tick(_: int) -> None:
        together.wait()
        for _ in range(3):
            people.tick()

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(tick, range(6)))
    assert len(people.runs()) == 1
    assert sorted(people.mobiles()) == sorted({to for to, _ in rows} & set(people.mobiles()))
    send_all(people)
    assert sorted(people.mobiles()) == [to for to, _ in rows]


def test_of_a_campaign_that_is_paused_just_after_a_look_nothing_is_claimed(people: Campaigns) -> None:
    people.audience(200)
    people.start()
    people.tick()
    for n in range(20):
        people.ledger.accept(message(f"m{n}", mobile(500 + n), content=f"{n}", lane="marketing", caller="shop"))
    # One of the two queues has its turn, and the rate is used up: the other is in the look that is kept.
    pulled = people.ledger.pull(lane="marketing", most=4, allow=lambda *_: Grant(1, 0.1))
    assert len(pulled.look.queues) == 2
    assert people.pause()
    pulled = people.ledger.pull(lane="marketing", most=10, last=pulled.look)
    assert {call.content for call in pulled.claimed} <= {str(n) for n in range(20)}


def test_feeding_makes_some_messages_however_long_it_takes_to_check_the_results(people: Campaigns) -> None:
    people.audience(200)
    people.start(replace(SPEC, stop_at="10%"))
    start_due(people.engine, window=window_of, now=NOW)
    late = chain([NOW], repeat(NOW + MAX_FEED_TIME))
    assert people.feed(people.runs()[0].id, clock=lambda: next(late)) is FeedOutcome.MORE
    assert len(people.mobiles()) == 200


def test_of_a_paused_campaign_nothing_is_called_until_it_is_resumed(people: Campaigns) -> None:
    people.audience(200)
    people.start()
    people.tick()
    assert len(pull(people.ledger, most=1)) == 1
    assert people.pause()
    assert (pull(people.ledger), people.find().reason) == ([], "wrong price")
    with people.engine.connect() as connection:
        assert claims.queues(connection, "marketing", now=NOW) == []
    people.tick()
    assert not people.pause()
    assert people.resume()
    assert len(pull(people.ledger)) == 3


def test_a_paused_campaign_does_not_probe_a_closed_gate(people: Campaigns) -> None:
    people.audience(10)
    people.start()
    people.tick()
    people.pause()
    with people.engine.begin() as connection:
        gates.close(connection, people.ledger.account_ids["default"], "-3", now=NOW, until=NOW)
    assert people.ledger.claim_probe(NOW + MINUTE) == []
    people.resume()
    assert len(people.ledger.claim_probe(NOW + MINUTE)) == 1


def test_what_is_not_called_of_a_cancelled_campaign_never_is(people: Campaigns) -> None:
    people.audience(500)
    people.start()
    people.tick()
    calls = pull(people.ledger, most=2)
    assert people.cancel()
    people.tick()
    assert pull(people.ledger) == []
    accepted(people.ledger, calls)
    assert people.ledger.states() == {"accepted": 2, "cancelled": 8}
    assert (people.find().state, people.runs()[0].state) == ("cancelled", "cancelled")
    assert not people.resume()
    assert not people.cancel()


def test_what_may_have_been_taken_is_unknown_when_its_campaign_is_cancelled(people: Campaigns) -> None:
    people.audience(1)
    people.start()
    people.tick()
    (call,) = pull(people.ledger)
    people.ledger.record(Recorded(call.id, call.attempt, State.HELD, NOW + MINUTE, None, None, resent=True))
    people.cancel()
    assert people.ledger.states() == {"unknown": 1}


def test_a_campaign_stops_at_2100_and_goes_on_at_0800(people: Campaigns) -> None:
    people.audience(200)
    people.start(now=AT_2059)
    people.tick(AT_2059)
    early = pull(people.ledger, AT_2059, most=1)
    assert len(early) == 1
    for night in (AT_2100, AT_2100 + HOUR, AT_0800 - SECOND):
        people.tick(night)
        assert pull(people.ledger, night) == []
    people.tick(AT_0800)
    late = pull(people.ledger, AT_0800)
    accepted(people.ledger, early + late, AT_0800)
    assert len(late) == 3
    people.tick(AT_0800)
    assert people.find().state == "done"


def test_a_campaign_has_hours_of_its_own_within_those_of_its_lane(people: Campaigns) -> None:
    people.audience(200)
    people.start(replace(SPEC, hours="07:00-12:30"))
    people.tick()
    assert len(pull(people.ledger, NOW + 29 * MINUTE, most=1)) == 1
    assert pull(people.ledger, NOW + 30 * MINUTE) == []
    people.tick(NOW + 31 * MINUTE)
    people.tick(AT_0800 - SECOND)
    assert pull(people.ledger, AT_0800 - SECOND) == []
    assert len(pull(people.ledger, AT_0800)) == 3


def test_what_is_not_out_when_the_hours_end_expires_where_that_is_the_choice(people: Campaigns) -> None:
    people.audience(200)
    people.start(replace(SPEC, leftover="expire"), AT_2059)
    people.tick(AT_2059)
    accepted(people.ledger, pull(people.ledger, AT_2059, most=1))
    people.tick(AT_2100)
    people.ledger.expire(AT_2100)
    assert people.ledger.states() == {"accepted": 1, "expired": 3}
    assert (people.find().state, people.runs()[0].state) == ("done", "expired")
    people.tick(AT_0800)
    assert pull(people.ledger, AT_0800) == []


def test_a_share_goes_first_and_then_it_asks(people: Campaigns) -> None:
    people.audience(10_000)
    people.start(replace(SPEC, first="1%"))
    first = list(chain.from_iterable(call.mobiles for call in send_all(people)))
    assert 90 <= len(first) <= 110
    assert len({int(to) // 1000 for to in first}) == 10, "they are spread over all of the file"
    assert (people.find().state, people.find().set_by) == ("paused", "the campaign itself")
    assert "its first 1.0% is out" in str(people.find().reason)
    people.resume()
    rest = list(chain.from_iterable(call.mobiles for call in send_all(people)))
    assert sorted(first + rest) == sorted(map(mobile, range(10_000)))
    assert people.find().state == "done"


def test_the_first_share_is_out_only_when_its_last_call_is(people: Campaigns) -> None:
    people.audience(10_000)
    people.start(replace(SPEC, first="1%"))
    people.tick()
    calls = pull(people.ledger)
    people.tick()
    assert people.find().state == "active"
    accepted(people.ledger, calls)
    people.tick()
    assert people.find().state == "paused"


def test_it_stops_by_itself_when_too_many_are_undelivered_and_a_person_may_have_it_go_on(people: Campaigns) -> None:
    rows = [(mobile(number), str(number)) for number in range(3_000)]
    people.audience(0, fields=rows)
    people.start(replace(SPEC, content="您的号码是{{ 姓名 }}", stop_at="5%"))
    people.tick()
    calls = pull(people.ledger, most=200)
    accepted(people.ledger, calls)
    people.ledger.push(
        status_push(*((call.mobiles[0], call.msg_id, -1 if n < 5 else 1) for n, call in enumerate(calls[:100])))
    )
    people.tick(NOW + 5 * SECOND)
    assert people.find().state == "active", "5 of 100 are not more than 5%"
    people.ledger.push(status_push(*((call.mobiles[0], call.msg_id, -1) for call in calls[100:102])))
    people.tick(NOW + 6 * SECOND)
    assert people.find().state == "active", "nobody looks again so soon"
    people.tick(NOW + 11 * SECOND)
    assert (people.find().state, people.find().set_by) == ("paused", "the campaign itself")
    assert people.find().reason == "7 of 102 results are rejected, undelivered or unknown, more than 5.0%"
    people.resume(NOW + MINUTE)
    people.tick(NOW + MINUTE)
    assert people.find().state == "active", "what a person has seen stops it no more"


@pytest.mark.parametrize("bad", [State.REJECTED, State.UNKNOWN])
def test_rejected_and_unknown_results_pause_a_campaign_too(people: Campaigns, bad: State) -> None:
    people.audience(10_000)
    people.start(replace(SPEC, stop_at="50%"))
    people.tick()
    calls = pull(people.ledger, most=3)
    people.ledger.record(*(Recorded(call.id, call.attempt, bad, None, None, "签名不对") for call in calls))
    people.tick(NOW + 5 * SECOND)
    assert people.find().reason == "150 of 150 results are rejected, undelivered or unknown, more than 50.0%"


def test_a_message_of_a_run_is_known_as_its(people: Campaigns) -> None:
    people.audience(2_500)
    people.start()
    people.tick()
    ((run),) = people.runs()
    rows = people.ledger.rows(t.messages)
    assert [row["run_id"] for row in rows] == [run.id] * 3
    assert {row["caller"] for row in people.ledger.rows(t.submissions)} == {f"campaign/{run.id}"}


def test_campaigns_and_other_callers_have_equal_shares(people: Campaigns) -> None:
    people.audience(5_000)
    people.start()
    people.tick()
    others = [mobile(number) for number in range(90_000, 90_020)]
    people.ledger.accept(message("m", *others, lane="marketing", caller="shop"), max_mobiles=1)
    calls = pull(people.ledger, most=10)
    assert sum(call.mobiles[0] in others for call in calls) == 5

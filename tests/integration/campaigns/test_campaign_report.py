"""The report of a campaign: what happened when, what the gateway answered, and how the prefixes did."""

from datetime import timedelta

from campaign_driver import PERSONAL, Campaigns
from ledger_driver import NOW, status_push

from worker.domain.status import State
from worker.ledger.sending.submissions import Recorded


def test_an_unreported_recipient_counts_from_its_call(people: Campaigns) -> None:
    people.start_personal(1)
    people.call()
    people.ledger.unreport(NOW)
    assert people.figures().statuses == {"unreported": 1}
    assert people.figures().last_call == NOW
    told = people.report()
    assert told.over_time is not None
    assert [(one.at, one.called) for one in told.over_time.buckets] == [(NOW, 1)]


def test_steps_over_time_fit_the_length_and_what_came_after_is_counted_apart(people: Campaigns) -> None:
    people.start_personal(9)
    for hours in range(3):
        at = NOW + timedelta(hours=hours, minutes=7)
        some = people.ledger.pull(at, lane="marketing", most=3).claimed
        people.ledger.record(*(Recorded(one.id, one.attempt, State.ACCEPTED, None, "1", None) for one in some), now=at)
        people.ledger.push(status_push((some[0].mobiles[0], some[0].msg_id, 1)), at + timedelta(minutes=1))
        people.ledger.push(status_push((some[1].mobiles[0], some[1].msg_id, -1)), at + timedelta(days=2))
    told = people.report().over_time
    assert told is not None
    assert told.step == timedelta(minutes=5)
    happened = {one.at - NOW: (one.called, one.delivered, one.undelivered) for one in told.buckets if one.called}
    assert happened == {timedelta(hours=hours, minutes=5): (3, 1, 0) for hours in range(3)}
    assert (told.later.called, told.later.delivered, told.later.undelivered) == (0, 0, 3)


def test_the_gateways_answers_come_by_frequency_and_the_rest_in_one_sum(people: Campaigns) -> None:
    people.start_personal(20)
    claimed = people.ledger.pull(NOW, lane="marketing").claimed
    people.ledger.record(
        *(
            Recorded(one.id, one.attempt, State.REJECTED, None, "-9", f"tips {max(0, place - 4)}")
            for place, one in enumerate(claimed)
        )
    )
    told = people.report()
    assert (told.results[0].tips, told.results[0].recipients) == ("tips 0", 5)
    assert len(told.results) == 12
    assert sum(one.recipients for one in told.results) + told.other_results == 20


def test_prefixes_count_the_calls_and_the_reports(people: Campaigns) -> None:
    people.audience(0, fields=[("18600000001", "安"), ("18600000002", "宝"), ("17000000001", "成")])
    people.start(PERSONAL)
    people.tick()
    one, two, _ = sorted(people.call(), key=lambda one: one.mobiles, reverse=True)
    people.ledger.push(status_push((one.mobiles[0], one.msg_id, 1), (two.mobiles[0], two.msg_id, -1)))
    told = [(of.prefix, of.called, of.delivered, of.undelivered) for of in people.report().prefixes]
    assert told == [("186", 2, 1, 1), ("170", 1, 0, 0)]

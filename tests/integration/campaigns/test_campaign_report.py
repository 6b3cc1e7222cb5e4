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
    report = people.report()
    assert report.over_time is not None
    assert [(bucket.at, bucket.called) for bucket in report.over_time.buckets] == [(NOW, 1)]


def test_steps_over_time_fit_the_length_and_what_came_after_is_counted_apart(people: Campaigns) -> None:
    people.start_personal(9)
    for hours in range(3):
        at = NOW + timedelta(hours=hours, minutes=7)
        calls = people.ledger.pull(at, lane="marketing", most=3).claimed
        people.ledger.record(
            *(Recorded(call.id, call.attempt, State.ACCEPTED, None, "1", None) for call in calls), now=at
        )
        people.ledger.push(status_push((calls[0].mobiles[0], calls[0].msg_id, 1)), at + timedelta(minutes=1))
        people.ledger.push(status_push((calls[1].mobiles[0], calls[1].msg_id, -1)), at + timedelta(days=2))
    over_time = people.report().over_time
    assert over_time is not None
    assert over_time.step == timedelta(minutes=5)
    happened = {
        bucket.at - NOW: (bucket.called, bucket.delivered, bucket.undelivered)
        for bucket in over_time.buckets
        if bucket.called
    }
    assert happened == {timedelta(hours=hours, minutes=5): (3, 1, 0) for hours in range(3)}
    assert (over_time.later.called, over_time.later.delivered, over_time.later.undelivered) == (0, 0, 3)


def test_the_gateways_answers_come_by_frequency_and_the_rest_in_one_sum(people: Campaigns) -> None:
    people.start_personal(20)
    claimed = people.ledger.pull(NOW, lane="marketing").claimed
    people.ledger.record(
        *(
            Recorded(call.id, call.attempt, State.REJECTED, None, "-9", f"tips {max(0, place - 4)}")
            for place, call in enumerate(claimed)
        )
    )
    report = people.report()
    assert (report.results[0].tips, report.results[0].recipients) == ("tips 0", 5)
    assert len(report.results) == 12
    assert sum(result.recipients for result in report.results) + report.other_results == 20


def test_prefixes_count_the_calls_and_the_reports(people: Campaigns) -> None:
    people.audience(0, fields=[("18600000001", "安"), ("18600000002", "宝"), ("17000000001", "成")])
    people.start(PERSONAL)
    people.tick()
    first, second, _ = sorted(people.call(), key=lambda call: call.mobiles, reverse=True)
    people.ledger.push(status_push((first.mobiles[0], first.msg_id, 1), (second.mobiles[0], second.msg_id, -1)))
    prefixes = [(row.prefix, row.called, row.delivered, row.undelivered) for row in people.report().prefixes]
    assert prefixes == [("186", 2, 1, 1), ("170", 1, 0, 0)]

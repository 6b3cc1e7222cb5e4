"""Whatever happens to a campaign, its figures add up to its members."""

from collections import Counter
from dataclasses import replace
from datetime import timedelta

from campaign_driver import PERSONAL, Campaigns
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from ledger_driver import NOW, Ledger, mobile, reply_push, status_push
from sqlalchemy import Connection, delete, func, select

from worker.domain.status import State
from worker.ledger import tables as t
from worker.ledger.campaigns.figures import walks
from worker.ledger.campaigns.recipients import recipient_rows
from worker.ledger.engine import reading
from worker.ledger.sending.claims import Claimed
from worker.ledger.sending.submissions import Recorded

# What may happen to a campaign, in any order. The number says which member it happens to, or how it ends.
EVENTS = st.lists(
    st.tuples(
        st.sampled_from(["tick", "call", "report", "optout", "pause", "resume", "cancel", "unreport", "expire"]),
        st.integers(0, 5),
    ),
    max_size=12,
)


ENDS = (State.ACCEPTED, State.REJECTED, State.UNKNOWN)


class Story:
    """A campaign of six, one of whom has no name, to which things happen."""

    def __init__(self, ledger: Ledger, first: str | None) -> None:
        self.ledger = ledger
        with ledger.engine.begin() as connection:
            _empty(connection)
        self.people = Campaigns(ledger)
        self.people.audience(0, fields=[(mobile(number), f"客户{number}" if number else "") for number in range(6)])
        self.people.start(replace(PERSONAL, first=first))
        self.called: list[Claimed] = []

    def happens(self, what: str, number: int) -> None:
        match what:
            case "tick":
                self.people.tick()
            case "call":
                claimed = self.ledger.pull(NOW, lane="marketing", most=2).claimed
                if not claimed:
                    return
                end = ENDS[number % 3]
                self.ledger.record(*(Recorded(call.id, call.attempt, end, None, str(number), None) for call in claimed))
                self.called += claimed
            case "report" if self.called:
                call = self.called[number % len(self.called)]
                self.ledger.push(status_push((call.mobiles[0], call.msg_id, 1 if number % 2 else -1)))
            case "optout":
                self.ledger.push(reply_push((mobile(number), "1", "T")))
            case "pause":
                self.people.pause()
            case "resume":
                self.people.resume()
            case "cancel":
                self.people.cancel()
            case "unreport":
                self.ledger.unreport(NOW + timedelta(seconds=1))
            case "expire" if number == 5:
                self.ledger.expire(NOW + timedelta(days=31))


def _empty(connection: Connection) -> None:
    of_campaigns = (t.runs, t.campaigns, t.members, t.audiences)
    for table in (t.reports, t.replies, t.optouts, t.pushes, t.recipients, t.submissions, t.messages, *of_campaigns):
        connection.execute(delete(table))


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(EVENTS, st.sampled_from([None, "50%"]))
def test_whatever_happens_the_counts_add_up_to_the_members_and_agree(
    ledger: Ledger, events: list[tuple[str, int]], first: str | None
) -> None:
    story = Story(ledger, first)
    for event in [("tick", 0), *events]:
        story.happens(*event)
    people = story.people
    figures, report = people.figures(), people.report()
    assert figures.members == 6
    assert sum(figures.statuses.values()) + figures.unrenderable + figures.remaining == 6
    assert sum(figures.suppressed.values()) == figures.statuses.get("suppressed", 0)
    assert report.figures == figures
    campaign, runs = people.find(), people.runs()
    with reading(people.engine) as connection:
        walk = walks(connection, [campaign])[campaign.id]
        rows = list(recipient_rows(connection, runs))
        query = select(t.recipient_status.c.status, func.count()).group_by(t.recipient_status.c.status)
        of_view = dict(connection.execute(query).all())
    assert (walk.members, walk.expanded, walk.unrenderable, walk.remaining) == (
        6, figures.expanded, figures.unrenderable, figures.remaining
    )  # fmt: skip
    never = Counter({"cancelled": walk.cancelled, "expired": walk.expired})
    assert Counter(figures.statuses) == Counter(of_view) + never
    assert Counter(row.status for row in rows) == Counter(of_view)
    called = figures.sent + figures.unknown + figures.statuses.get("rejected", 0)
    assert sum(prefix.called for prefix in report.prefixes) == called
    assert sum(result.recipients for result in report.results) + report.other_results == called
    buckets = [*report.over_time.buckets, report.over_time.later] if report.over_time else []
    assert sum(bucket.called for bucket in buckets) == called
    assert sum(bucket.delivered for bucket in buckets) == figures.delivered

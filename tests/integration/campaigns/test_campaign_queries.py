"""The figures of a campaign, over the ledger as a campaign leaves it: on both databases."""

from collections import Counter
from dataclasses import replace
from datetime import datetime, timedelta

import pytest
from campaign_driver import SPEC, Campaigns
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from ledger_driver import NOW, Ledger, message, mobile, reply_push, status_push
from sqlalchemy import Connection, delete, func, select
from sqlalchemy import event as engine_event

from worker.domain.campaigns.campaign import Campaign, Run
from worker.domain.campaigns.figures import Figures
from worker.domain.campaigns.report import CampaignReport
from worker.domain.status import State
from worker.ledger import tables as t
from worker.ledger.campaigns import answers as kept_answers
from worker.ledger.campaigns import campaigns, runs
from worker.ledger.campaigns.answers import Answer
from worker.ledger.campaigns.figures import campaign_figures, campaign_report, walks
from worker.ledger.campaigns.recipients import recipient_rows
from worker.ledger.dialect import ROWS
from worker.ledger.engine import open_engine, reading
from worker.ledger.sending.claims import Claimed
from worker.ledger.sending.submissions import Recorded

WAIT = timedelta(hours=72)
EACH = replace(SPEC, content="{{ 姓名 }}您好，春装上市，拒收请回复R")


@pytest.fixture
def people(ledger: Ledger) -> Campaigns:
    return Campaigns(ledger)


def under_way(people: Campaigns) -> tuple[Campaign, list[Run]]:
    return people.find(), people.runs()


def look(people: Campaigns, of: list[Run] | None = None, now: datetime = NOW) -> Figures:
    campaign, every = under_way(people)
    with reading(people.engine) as connection:
        return campaign_figures(connection, campaign, every if of is None else of, report_wait=WAIT, now=now)


def breakdown(people: Campaigns, now: datetime = NOW) -> CampaignReport:
    campaign, of = under_way(people)
    with reading(people.engine) as connection:
        return campaign_report(connection, campaign, of, report_wait=WAIT, now=now)


def answers(people: Campaigns) -> list[Answer]:
    campaign, of = under_way(people)
    with reading(people.engine) as connection:
        return list(kept_answers.answers(connection, campaign, of, report_wait=WAIT, now=NOW))


def call(
    people: Campaigns, *states: State, now: datetime = NOW, result: str | None = "1", tips: str | None = "成功"
) -> list[Claimed]:
    """Calls what is due, the first of them with these outcomes, and the rest accepted."""
    claimed = people.ledger.pull(now, lane="marketing").claimed
    ends = [*states, *[State.ACCEPTED] * len(claimed)]
    people.ledger.record(
        *(Recorded(one.id, one.attempt, end, None, result, tips) for one, end in zip(claimed, ends, strict=False)),
        now=now,
    )
    return claimed


def started(people: Campaigns, count: int, **changes: object) -> None:
    people.audience(count)
    people.start(replace(EACH, **changes))
    people.tick()


def test_a_campaign_that_has_not_begun_has_all_its_members_before_it(people: Campaigns) -> None:
    people.audience(5)
    people.draft(EACH)
    assert look(people) == Figures(5, 0, 0, 5, {}, {}, 0, 0, None, None, 0)
    assert breakdown(people).figures == look(people)


def test_each_recipient_counts_where_it_stands(people: Campaigns) -> None:
    started(people, 8)
    one, two, three, *_ = call(people, State.ACCEPTED, State.ACCEPTED, State.ACCEPTED, State.REJECTED, State.UNKNOWN)
    people.ledger.push(
        status_push(
            (one.mobiles[0], one.msg_id, 1), (two.mobiles[0], two.msg_id, -1), (three.mobiles[0], three.msg_id, -1)
        )
    )
    # It comes later, and wins.
    people.ledger.push(status_push((three.mobiles[0], three.msg_id, 1)))
    assert look(people).statuses == {"accepted": 3, "rejected": 1, "unknown": 1, "delivered": 2, "undelivered": 1}


def test_a_report_for_somebody_else_under_our_msgid_is_nobodys(people: Campaigns) -> None:
    started(people, 2)
    one, _ = call(people)
    people.ledger.push(status_push((mobile(77), one.msg_id, 1)))
    assert look(people).statuses == {"accepted": 2}


def test_who_shares_a_call_is_counted_by_himself(people: Campaigns) -> None:
    people.audience(120)
    people.start(SPEC)
    people.tick()
    first, *_ = call(people)
    people.ledger.push(status_push(*((to, first.msg_id, 1) for to in first.mobiles[:7])))
    assert look(people).statuses == {"accepted": 113, "delivered": 7}


def test_messages_of_others_in_between_are_not_counted(people: Campaigns) -> None:
    started(people, 3)
    people.ledger.accept(message("other", mobile(1), lane="marketing", content="别的，拒收请回复R"))
    people.audience(4, name="more")
    people.start(replace(EACH, name="summer", audience="more"))
    people.tick()
    call(people)
    assert look(people, [people.runs()[0]]).statuses == {"accepted": 3}


def test_who_opted_out_is_suppressed_with_the_reason(people: Campaigns) -> None:
    people.audience(3)
    people.ledger.sent_to(mobile(1))
    people.ledger.push(reply_push((mobile(1), "5", "T")))
    people.start(EACH)
    people.tick()
    figures = look(people)
    assert (figures.statuses, figures.suppressed) == ({"queued": 2, "suppressed": 1}, {"optout": 1})
    assert figures.left_out == 1


def test_a_row_that_makes_no_text_is_refused(people: Campaigns) -> None:
    people.audience(0, fields=[(mobile(1), "安"), (mobile(2), "")])
    people.start(EACH)
    people.tick()
    figures = look(people)
    assert (figures.members, figures.expanded, figures.unrenderable, figures.remaining) == (2, 1, 1, 0)


def test_what_a_cancelled_run_never_came_to_is_cancelled(people: Campaigns) -> None:
    people.audience(6)
    people.start(replace(EACH, first="50%"))
    people.tick()
    made = look(people).expanded
    assert 0 < made < 6
    people.cancel()
    assert look(people).statuses == {"cancelled": 6}
    assert look(people).remaining == 0


def test_a_run_by_itself_and_all_of_them(people: Campaigns) -> None:
    people.audience(3)
    people.start(replace(EACH, cron="0 12 * * *"), now=NOW - timedelta(minutes=1))
    for day in range(2):
        now = NOW + timedelta(days=day)
        people.tick(now)
        call(people, now=now)
        people.tick(now)
    newest, oldest = sorted(people.runs(), key=lambda run: run.due_at, reverse=True)
    assert [look(people, [run]).members for run in (newest, oldest)] == [3, 3]
    assert (look(people).members, look(people).sent) == (6, 6)


def test_the_rate_is_that_of_the_last_minute_and_the_calls_have_a_first_and_a_last(people: Campaigns) -> None:
    started(people, 5)
    later = NOW + timedelta(seconds=90)
    [*some] = people.ledger.pull(NOW, lane="marketing", most=2).claimed
    people.ledger.record(*(Recorded(one.id, one.attempt, State.ACCEPTED, None, "1", None) for one in some))
    call(people, now=later)
    figures = look(people, now=later + timedelta(seconds=30))
    assert figures.per_minute == 3
    assert (figures.first_call, figures.last_call) == (NOW, later)


def test_who_is_not_reported_on_was_called_when_he_was_called(people: Campaigns) -> None:
    started(people, 1)
    call(people)
    people.ledger.unreport(NOW)
    assert look(people).statuses == {"unreported": 1}
    assert look(people).last_call == NOW
    told = breakdown(people)
    assert told.over_time is not None
    assert [(one.at, one.called) for one in told.over_time.buckets] == [(NOW, 1)]


def test_over_time_steps_fit_the_length_and_what_came_after_is_told_apart(people: Campaigns) -> None:
    started(people, 9)
    for hours in range(3):
        at = NOW + timedelta(hours=hours, minutes=7)
        some = people.ledger.pull(at, lane="marketing", most=3).claimed
        people.ledger.record(*(Recorded(one.id, one.attempt, State.ACCEPTED, None, "1", None) for one in some), now=at)
        people.ledger.push(status_push((some[0].mobiles[0], some[0].msg_id, 1)), at + timedelta(minutes=1))
        people.ledger.push(status_push((some[1].mobiles[0], some[1].msg_id, -1)), at + timedelta(days=2))
    told = breakdown(people).over_time
    assert told is not None
    assert told.step == timedelta(minutes=5)
    happened = {one.at - NOW: (one.called, one.delivered, one.undelivered) for one in told.buckets if one.called}
    assert happened == {timedelta(hours=hours, minutes=5): (3, 1, 0) for hours in range(3)}
    assert (told.later.called, told.later.delivered, told.later.undelivered) == (0, 0, 3)


def test_what_the_gateway_answered_is_told_by_frequency_and_the_rest_in_one_sum(people: Campaigns) -> None:
    started(people, 20)
    claimed = people.ledger.pull(NOW, lane="marketing").claimed
    people.ledger.record(
        *(
            Recorded(one.id, one.attempt, State.REJECTED, None, "-9", f"tips {max(0, place - 4)}")
            for place, one in enumerate(claimed)
        )
    )
    told = breakdown(people)
    assert (told.results[0].tips, told.results[0].recipients) == ("tips 0", 5)
    assert len(told.results) == 12
    assert sum(one.recipients for one in told.results) + told.other_results == 20


def test_prefixes_tell_who_was_called_and_what_was_reported(people: Campaigns) -> None:
    people.audience(0, fields=[("18600000001", "安"), ("18600000002", "宝"), ("17000000001", "成")])
    people.start(EACH)
    people.tick()
    one, two, _ = sorted(call(people), key=lambda one: one.mobiles, reverse=True)
    people.ledger.push(status_push((one.mobiles[0], one.msg_id, 1), (two.mobiles[0], two.msg_id, -1)))
    told = [(of.prefix, of.called, of.delivered, of.undelivered) for of in breakdown(people).prefixes]
    assert told == [("186", 2, 1, 1), ("170", 1, 0, 0)]


def test_replies_belong_to_the_run_whose_message_they_answer(people: Campaigns) -> None:
    started(people, 3)
    one, two, three = call(people)
    to, msg_id = one.mobiles[0], str(one.msg_id)
    people.ledger.push(
        reply_push(
            (to, msg_id, "好的"),
            (two.mobiles[0], str(two.msg_id), "T"),
            (to, f"0{msg_id}", "nobody sent that"),
            (to, "99999999999999999999", "nor that"),
            (to, "x", "nor that"),
            (three.mobiles[0], msg_id, "that was sent to somebody else"),
        )
    )
    assert (look(people).replies, look(people).optouts) == (2, 1)
    found = answers(people)
    assert {(one.mobile, one.content, one.optout) for one in found} == {
        (to, "好的", False),
        (two.mobiles[0], "T", True),
    }
    with people.engine.connect() as connection:
        ids = dict(connection.execute(select(t.recipients.c.mobile, t.messages.c.public_id).join(t.messages)).all())
    assert all(one.message == ids[one.mobile] for one in found)


def test_the_newest_reply_is_the_first_and_what_the_gateway_repeats_is_told_once(people: Campaigns) -> None:
    started(people, 1)
    [one] = call(people)
    for minutes, content in ((1, "一"), (2, "二"), (3, "一"), (4, "三")):
        at = NOW + timedelta(minutes=minutes)
        people.ledger.push(reply_push((one.mobiles[0], str(one.msg_id), content)), received_at=at)
    assert [found.content for found in answers(people)] == ["三", "二", "一"]


def test_replies_and_recipients_come_in_pages_without_a_gap(people: Campaigns) -> None:
    many = 2 * ROWS + 10
    people.audience(many)
    people.start(SPEC)
    people.tick()
    claimed = people.ledger.pull(NOW, lane="marketing").claimed
    people.ledger.push(reply_push(*((to, str(one.msg_id), "好") for one in claimed for to in one.mobiles)))
    found = [one.mobile for one in answers(people)]
    of = people.runs()
    with reading(people.engine) as connection:
        rows = [row.mobile for row in recipient_rows(connection, of)]
    everybody = sorted(map(mobile, range(many)))
    assert sorted(found) == sorted(rows) == everybody


def test_it_takes_as_many_statements_for_many_recipients_as_for_one(people: Campaigns, statements: list[str]) -> None:
    def made() -> list[int]:
        counts = []
        campaign, of = under_way(people)
        with reading(people.engine) as connection:
            for ask in (campaign_figures, campaign_report):
                statements.clear()
                ask(connection, campaign, of, report_wait=WAIT, now=NOW)
                counts.append(len(statements))
        return counts

    started(people, 300)
    [first, *_] = people.ledger.pull(NOW, lane="marketing", most=1).claimed
    people.ledger.record(Recorded(first.id, first.attempt, State.ACCEPTED, None, "1", None))
    for_one = made()
    call(people)
    assert made() == for_one


def test_postgresql_reads_what_it_joins_once_each_though_it_has_no_statistics_of_a_campaign_that_goes_on(
    postgres_url: str,
) -> None:
    engine = open_engine(postgres_url)
    of = Campaigns(Ledger(engine))
    of.audience(3_000)
    of.start()
    of.tick()
    plans: list[str] = []

    def explain(connection: Connection, _cursor: object, statement: str, parameters: object, *_: object) -> None:
        if "count(*) AS" in statement and "EXPLAIN" not in statement and "LEFT OUTER JOIN" in statement:
            plans.extend(connection.exec_driver_sql(f"EXPLAIN {statement}", parameters).scalars())

    engine_event.listen(engine, "before_cursor_execute", explain)
    with reading(engine) as connection:
        campaign = of.find()
        campaign_figures(
            connection, campaign, runs.listed(connection, campaign.id), report_wait=timedelta(hours=72), now=NOW
        )
        assert connection.exec_driver_sql("SHOW enable_nestloop").scalar() == "on"
    engine.dispose()
    assert plans
    assert not [line for line in plans if "Nested Loop" in line]


def test_a_list_of_campaigns_tells_how_far_each_has_come_by_two_statements(
    people: Campaigns, statements: list[str]
) -> None:
    started(people, 3)
    people.audience(4, name="more")
    people.draft(replace(EACH, name="summer", audience="more"))
    with reading(people.engine) as connection:
        found = campaigns.listed(connection, limit=10)
        statements.clear()
        of_campaign = walks(connection, found)
        assert len(statements) == 2
        assert walks(connection, []) == {}
    told = {
        one.name: (of_campaign[one.id].members, of_campaign[one.id].expanded, of_campaign[one.id].remaining)
        for one in found
    }
    assert told == {"spring": (3, 3, 0), "summer": (4, 0, 4)}


# What may happen to a campaign, in any order; the number says to whom, or what becomes of it.
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
        self.people.start(replace(EACH, first=first))
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
                self.ledger.record(*(Recorded(one.id, one.attempt, end, None, str(number), None) for one in claimed))
                self.called += claimed
            case "report" if self.called:
                one = self.called[number % len(self.called)]
                self.ledger.push(status_push((one.mobiles[0], one.msg_id, 1 if number % 2 else -1)))
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
    figures, told = look(people), breakdown(people)
    assert figures.members == 6
    assert sum(figures.statuses.values()) + figures.unrenderable + figures.remaining == 6
    assert sum(figures.suppressed.values()) == figures.statuses.get("suppressed", 0)
    assert told.figures == figures
    campaign, of = under_way(people)
    with reading(people.engine) as connection:
        walk = walks(connection, [campaign])[campaign.id]
        rows = list(recipient_rows(connection, of))
        query = select(t.recipient_status.c.status, func.count()).group_by(t.recipient_status.c.status)
        of_view = dict(connection.execute(query).all())
    assert (walk.members, walk.expanded, walk.unrenderable, walk.remaining) == (
        6, figures.expanded, figures.unrenderable, figures.remaining
    )  # fmt: skip
    never = Counter({"cancelled": walk.cancelled, "expired": walk.expired})
    assert Counter(figures.statuses) == Counter(of_view) + never
    assert Counter(row.status for row in rows) == Counter(of_view)
    called = figures.sent + figures.unknown + figures.statuses.get("rejected", 0)
    assert sum(one.called for one in told.prefixes) == called
    assert sum(one.recipients for one in told.results) + told.other_results == called
    buckets = [*told.over_time.buckets, told.over_time.later] if told.over_time else []
    assert sum(one.called for one in buckets) == called
    assert sum(one.delivered for one in buckets) == figures.delivered

"""The figures of a campaign, over the ledger as a campaign leaves it: on both databases."""

from dataclasses import replace
from datetime import timedelta

from campaign_driver import PERSONAL, REPORT_WAIT, SPEC, Campaigns
from ledger_driver import NOW, Ledger, message, mobile, reply_push, status_push
from sqlalchemy import Connection
from sqlalchemy import event as engine_event

from worker.domain.campaigns.figures import Figures
from worker.domain.status import State
from worker.ledger.campaigns import campaigns, runs
from worker.ledger.campaigns.figures import campaign_figures, campaign_report, walks
from worker.ledger.engine import open_engine, reading
from worker.ledger.sending.submissions import Recorded


def test_a_campaign_that_has_not_begun_has_all_its_members_before_it(people: Campaigns) -> None:
    people.audience(5)
    people.draft(PERSONAL)
    assert people.figures() == Figures(5, 0, 0, 5, {}, {}, 0, 0, None, None, 0)
    assert people.report().figures == people.figures()


def test_each_recipient_counts_where_it_stands(people: Campaigns) -> None:
    people.start_personal(8)
    first, second, third, *_ = people.call(
        State.ACCEPTED, State.ACCEPTED, State.ACCEPTED, State.REJECTED, State.UNKNOWN
    )
    people.ledger.push(
        status_push(
            (first.mobiles[0], first.msg_id, 1),
            (second.mobiles[0], second.msg_id, -1),
            (third.mobiles[0], third.msg_id, -1),
        )
    )
    # It comes later, and wins.
    people.ledger.push(status_push((third.mobiles[0], third.msg_id, 1)))
    assert people.figures().statuses == {"accepted": 3, "rejected": 1, "unknown": 1, "delivered": 2, "undelivered": 1}


def test_a_report_for_another_mobile_under_our_msgid_counts_for_no_recipient(people: Campaigns) -> None:
    people.start_personal(2)
    call, _ = people.call()
    people.ledger.push(status_push((mobile(77), call.msg_id, 1)))
    assert people.figures().statuses == {"accepted": 2}


def test_a_recipient_that_shares_a_call_is_counted_by_itself(people: Campaigns) -> None:
    people.audience(120)
    people.start(SPEC)
    people.tick()
    first, *_ = people.call()
    people.ledger.push(status_push(*((to, first.msg_id, 1) for to in first.mobiles[:7])))
    assert people.figures().statuses == {"accepted": 113, "delivered": 7}


def test_messages_of_others_in_between_are_not_counted(people: Campaigns) -> None:
    people.start_personal(3)
    people.ledger.accept(message("other", mobile(1), lane="marketing", content="别的，拒收请回复R"))
    people.audience(4, name="more")
    people.start(replace(PERSONAL, name="summer", audience="more"))
    people.tick()
    people.call()
    assert people.figures([people.runs()[0]]).statuses == {"accepted": 3}


def test_a_recipient_that_opted_out_is_suppressed_with_the_reason(people: Campaigns) -> None:
    people.audience(3)
    people.ledger.sent_to(mobile(1))
    people.ledger.push(reply_push((mobile(1), "5", "T")))
    people.start(PERSONAL)
    people.tick()
    figures = people.figures()
    assert (figures.statuses, figures.suppressed) == ({"queued": 2, "suppressed": 1}, {"optout": 1})
    assert figures.left_out == 1


def test_a_row_that_makes_no_text_is_counted_as_unrenderable(people: Campaigns) -> None:
    people.audience(0, fields=[(mobile(1), "安"), (mobile(2), "")])
    people.start(PERSONAL)
    people.tick()
    figures = people.figures()
    assert (figures.members, figures.expanded, figures.unrenderable, figures.remaining) == (2, 1, 1, 0)


def test_what_a_cancelled_run_never_came_to_is_cancelled(people: Campaigns) -> None:
    people.audience(6)
    people.start(replace(PERSONAL, first="50%"))
    people.tick()
    expanded = people.figures().expanded
    assert 0 < expanded < 6
    people.cancel()
    assert people.figures().statuses == {"cancelled": 6}
    assert people.figures().remaining == 0


def test_a_run_by_itself_and_all_of_them(people: Campaigns) -> None:
    people.audience(3)
    people.start(replace(PERSONAL, cron="0 12 * * *"), now=NOW - timedelta(minutes=1))
    for day in range(2):
        now = NOW + timedelta(days=day)
        people.tick(now)
        people.call(now=now)
        people.tick(now)
    newest, oldest = sorted(people.runs(), key=lambda run: run.due_at, reverse=True)
    assert [people.figures([run]).members for run in (newest, oldest)] == [3, 3]
    assert (people.figures().members, people.figures().sent) == (6, 6)


def test_the_rate_is_that_of_the_last_minute_and_the_calls_have_a_first_and_a_last(people: Campaigns) -> None:
    people.start_personal(5)
    later = NOW + timedelta(seconds=90)
    [*claimed] = people.ledger.pull(NOW, lane="marketing", most=2).claimed
    people.ledger.record(*(Recorded(call.id, call.attempt, State.ACCEPTED, None, "1", None) for call in claimed))
    people.call(now=later)
    figures = people.figures(now=later + timedelta(seconds=30))
    assert figures.per_minute == 3
    assert (figures.first_call, figures.last_call) == (NOW, later)


def test_it_takes_as_many_statements_for_many_recipients_as_for_one(people: Campaigns, statements: list[str]) -> None:
    def statement_counts() -> list[int]:
        counts = []
        campaign, campaign_runs = people.find(), people.runs()
        with reading(people.engine) as connection:
            for ask in (campaign_figures, campaign_report):
                statements.clear()
                ask(connection, campaign, campaign_runs, report_wait=REPORT_WAIT, now=NOW)
                counts.append(len(statements))
        return counts

    people.start_personal(300)
    [first, *_] = people.ledger.pull(NOW, lane="marketing", most=1).claimed
    people.ledger.record(Recorded(first.id, first.attempt, State.ACCEPTED, None, "1", None))
    for_one = statement_counts()
    people.call()
    assert statement_counts() == for_one


def test_postgresql_reads_what_it_joins_once_each_though_it_has_no_statistics_of_a_campaign_that_goes_on(
    postgres_url: str,
) -> None:
    engine = open_engine(postgres_url)
    people = Campaigns(Ledger(engine))
    people.audience(3_000)
    people.start()
    people.tick()
    plans: list[str] = []

    def explain(connection: Connection, _cursor: object, statement: str, parameters: object, *_: object) -> None:
        if "count(*) AS" in statement and "EXPLAIN" not in statement and "LEFT OUTER JOIN" in statement:
            plans.extend(connection.exec_driver_sql(f"EXPLAIN {statement}", parameters).scalars())

    engine_event.listen(engine, "before_cursor_execute", explain)
    with reading(engine) as connection:
        campaign = people.find()
        campaign_figures(connection, campaign, runs.listed(connection, campaign.id), report_wait=REPORT_WAIT, now=NOW)
        assert connection.exec_driver_sql("SHOW enable_nestloop").scalar() == "on"
    engine.dispose()
    assert plans
    assert not [line for line in plans if "Nested Loop" in line]


def test_a_list_of_campaigns_tells_how_far_each_has_come_by_two_statements(
    people: Campaigns, statements: list[str]
) -> None:
    people.start_personal(3)
    people.audience(4, name="more")
    people.draft(replace(PERSONAL, name="summer", audience="more"))
    with reading(people.engine) as connection:
        listed = campaigns.listed(connection, limit=10)
        statements.clear()
        of_campaign = walks(connection, listed)
        assert len(statements) == 2
        assert walks(connection, []) == {}
    progress = {
        campaign.name: (
            of_campaign[campaign.id].members,
            of_campaign[campaign.id].expanded,
            of_campaign[campaign.id].remaining,
        )
        for campaign in listed
    }
    assert progress == {"spring": (3, 3, 0), "summer": (4, 0, 4)}

"""What a campaign would do, before it does it."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from campaign_rows import NAME, add_campaign
from ledger_driver import NOW, Ledger, mobile

from worker.campaigns.preflight import Room, Rules, Watch, preflight
from worker.campaigns.tally import EXAMPLES, OTHER, REASONS
from worker.campaigns.template import TemplateFault
from worker.domain.campaigns.preflight import Preflight, Unrenderable
from worker.domain.caps import Cap, CapKey
from worker.domain.lane import LANES, Lane
from worker.domain.rate import Rate
from worker.domain.text import Risk
from worker.ledger.campaigns import campaigns
from worker.ledger.engine import reading
from worker.ledger.sending import optouts

SHANGHAI = ZoneInfo("Asia/Shanghai")
MARKETING = LANES["marketing"]
CAPPED = replace(LANES["notice"], caps=(Cap(1, 60),))


def check(
    ledger: Ledger,
    *,
    lane: Lane = MARKETING,
    rate: Rate = Rate(5),  # noqa: B008 - a frozen value
    signature: str = "",
    max_mobiles: int = 50,
    room: Room | None = None,
    random: Callable[[], float] = lambda: 0.99,
    tell: Callable[[Unrenderable], object] = lambda _: None,
    progress: Callable[[int], object] = lambda _: None,
    now: datetime = NOW,
) -> Preflight:
    with reading(ledger.engine) as connection:
        campaign = campaigns.find(connection, NAME)
        assert campaign
        return preflight(
            connection,
            campaign,
            Rules(lane, SHANGHAI, rate, signature, max_mobiles, room),
            watch=Watch(tell, progress),
            random=random,
            now=now,
        )


def people(count: int, name: Callable[[int], str] = "客户{}".format) -> Sequence[tuple[str, str]]:
    return [(mobile(number), name(number)) for number in range(count)]


def test_one_text_for_all_goes_in_full_calls(ledger: Ledger) -> None:
    add_campaign(ledger, people(2120), "春装上市，拒收请回复R")
    plan = check(ledger, signature="【某商城】")
    assert (plan.members, plan.recipients, plan.personal) == (2120, 2120, False)
    assert (plan.calls, plan.segments, plan.least, plan.mean, plan.most) == (43, 2120, 1, 1.0, 1)
    assert plan.forecast.takes == timedelta(seconds=43 / 5)
    assert [(sample.why, sample.line) for sample in plan.samples] == [("first", 2)]
    assert plan.noticed == []


def test_texts_that_differ_go_apart_and_those_that_do_not_share_calls(ledger: Ledger) -> None:
    add_campaign(ledger, people(2120), "尊敬的{{ 姓名 }}，回T退订")
    assert check(ledger).calls == 2120
    add_campaign(ledger, people(2120, lambda n: "先生" if n % 2 else "女士"), "尊敬的{{ 姓名 }}，回T退订")
    plan = check(ledger)
    assert (plan.personal, plan.calls) == (True, 2 * (10 + 10) + 2 * 2)


def test_a_lane_that_shares_no_calls_makes_one_for_each(ledger: Ledger) -> None:
    add_campaign(ledger, people(10), "您好", lane="otp")
    assert check(ledger, lane=LANES["otp"]).calls == 10


def test_rows_that_make_no_text_are_counted_by_reason_and_handed_out_one_by_one(ledger: Ledger) -> None:
    each: list[Unrenderable] = []
    names = {1: "", 3: "", 4: " ", 6: "", 5: "字" * 1000}
    add_campaign(ledger, people(8, lambda n: names.get(n, "客户")), "尊敬的{{ 姓名 }}，回T退订")
    plan = check(ledger, tell=each.append)
    empty, long = (
        'column "姓名" is empty',
        "its text has 1008 characters, more than the 1000 of one message; shorten or split it",
    )
    assert plan.unrenderable == {empty: 4, long: 1}
    assert (plan.members, plan.recipients) == (8, 3)
    assert [row.line for row in plan.examples if row.reason == empty] == [3, 5, 6][:EXAMPLES]
    assert [(row.line, row.mobile) for row in each] == [(line, mobile(line - 2)) for line in (3, 5, 6, 7, 8)]


def test_only_so_many_reasons_are_counted_apart(ledger: Ledger) -> None:
    add_campaign(ledger, people(REASONS + 5, lambda n: "字" * (1000 + n)), "{{ 姓名 }}您")
    assert check(ledger).unrenderable[OTHER] == 5


def test_an_opted_out_member_is_not_sent_to_where_the_lane_heeds_it(ledger: Ledger) -> None:
    add_campaign(ledger, people(1500), "春装上市，拒收请回复R")
    with ledger.engine.begin() as connection:
        gone = [(mobile(number), "T", None) for number in (7, 1400, 1_000_000)]
        optouts.add(connection, ledger.account_ids["default"], gone, since=NOW, set_by="reply")
    plan = check(ledger)
    assert (plan.opted_out, plan.recipients) == (2, 1498)
    notice = check(ledger, lane=LANES["notice"])
    assert (notice.opted_out, notice.recipients) == (0, 1500)


def test_a_member_sent_to_as_often_as_the_lane_allows_is_left_out(ledger: Ledger) -> None:
    add_campaign(ledger, people(10), "您好", lane="notice")

    def room(wanted: Collection[CapKey]) -> dict[CapKey, int]:
        assert {capped[:2] for capped in wanted} == {("default", "notice")}
        return {capped: int(capped.mobile > mobile(3)) for capped in wanted}

    plan = check(ledger, lane=CAPPED, room=room)
    assert (plan.capped, plan.recipients) == (4, 6)


def test_caps_are_unknown_where_nobody_can_be_asked(ledger: Ledger) -> None:
    add_campaign(ledger, people(10), "您好", lane="notice")
    plan = check(ledger, lane=CAPPED)
    assert (plan.capped, plan.recipients) == (None, 10)
    assert check(ledger, lane=LANES["notice"]).capped == 0


def test_segments_count_the_signature(ledger: Ledger) -> None:
    lengths = [60, 61, 130]
    add_campaign(ledger, people(3, lambda n: "字" * (lengths[n] - 4)), "{{ 姓名 }}回T退订"[:-1])
    assert check(ledger).segments == 1 + 1 + 2
    plan = check(ledger, signature="【某某大商城】字")
    assert (plan.segments, plan.least, plan.most, plan.mean) == (1 + 1 + 3, 1, 3, pytest.approx(5 / 3))


def test_the_first_the_longest_and_a_few_random_texts_are_shown(ledger: Ledger) -> None:
    add_campaign(ledger, people(100, lambda n: "字" * 50 if n == 40 else f"客户{n}"), "{{ 姓名 }}，回T退订")
    # Among the first three chance has nothing to say; then each place is taken by the seventh, and by nobody else.
    chances = iter([0.0] * 6 + [0.1] + [0.99] * 100)
    plan = check(ledger, random=lambda: next(chances))
    assert [(sample.why, sample.line) for sample in plan.samples] == [
        ("first", 2),
        ("longest", 42),
        ("random", 8),
        ("random", 3),
        ("random", 4),
    ]
    assert (plan.samples[1].mobile, plan.samples[1].text) == (mobile(40), "字" * 50 + "，回T退订")


def test_each_kind_of_warning_comes_once_with_the_number_of_texts(ledger: Ledger) -> None:
    names = {3: "shop.cn", 5: "t.cn/x", 1200: "b.com"}
    add_campaign(ledger, people(1300, lambda n: names.get(n, "客户")), "尊敬的{{ 姓名 }}")
    warnings = {warning.risk: (warning.texts, warning.line) for warning in check(ledger).noticed}
    assert warnings == {Risk.NO_HINT: (1300, 2), Risk.LINK: (3, 5)}
    assert Risk.NO_HINT not in {warning.risk for warning in check(ledger, lane=LANES["notice"]).noticed}


@pytest.mark.parametrize(
    ("values", "now", "starts_at"),
    [
        ({}, NOW, NOW),
        ({}, datetime(2026, 11, 22, 14, tzinfo=UTC), datetime(2026, 11, 23, 0, tzinfo=UTC)),
        ({"next_at": NOW - timedelta(hours=1)}, NOW, NOW),
        ({"next_at": NOW + timedelta(hours=1)}, NOW, NOW + timedelta(hours=1)),
        ({"hours": "13:00-14:00"}, NOW, NOW + timedelta(hours=1)),
        ({"hours": "21:00-23:00"}, NOW, None),
        ({"cron": "30 9 * * 1"}, NOW, datetime(2026, 11, 23, 1, 30, tzinfo=UTC)),
    ],
)
def test_it_begins_at_its_time_within_its_hours_and_those_of_its_lane(
    ledger: Ledger, values: dict[str, object], now: datetime, starts_at: datetime | None
) -> None:
    add_campaign(ledger, people(1), "春装上市，拒收请回复R", **values)
    assert check(ledger, now=now).forecast.starts_at == starts_at


def test_without_a_rate_the_time_is_not_known(ledger: Ledger) -> None:
    add_campaign(ledger, people(10), "春装上市，拒收请回复R")
    forecast = check(ledger, rate=Rate()).forecast
    assert (forecast.starts_at, forecast.takes, forecast.ends_at) == (NOW, None, None)


def test_a_campaign_that_expires_tells_how_many_would_not_go_out(ledger: Ledger) -> None:
    add_campaign(ledger, people(300), "{{ 姓名 }}，回T退订", leftover="expire", hours="12:00-12:01")
    assert check(ledger, rate=Rate(2)).forecast.left_over == 180


def test_an_empty_audience_is_sent_nothing(ledger: Ledger) -> None:
    add_campaign(ledger, [], "{{ 姓名 }}，回T退订")
    plan = check(ledger)
    assert (plan.recipients, plan.segments, plan.least, plan.mean, plan.calls) == (0, 0, 0, 0.0, 0)
    assert plan.samples == []


def test_a_bad_text_is_refused(ledger: Ledger) -> None:
    add_campaign(ledger, people(1), "{{ 姓 }}")
    with pytest.raises(TemplateFault, match="did you mean 姓名"):
        check(ledger)


def test_an_audience_is_gone_through_in_pages_of_a_few_statements_each(ledger: Ledger, statements: list[str]) -> None:
    add_campaign(ledger, people(2500), "{{ 姓名 }}，回T退订")
    statements.clear()
    steps: list[int] = []
    check(ledger, progress=steps.append)
    assert steps == [1000, 1000, 500]
    assert len(statements) == 1 + 4 + 3

"""The page with the report of a campaign."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from lxml import etree

from worker.campaigns.report.page import html
from worker.domain.campaigns.audience import Audience
from worker.domain.campaigns.campaign import Campaign, CampaignState, Leftover, Missed, Run, RunState, Stage
from worker.domain.campaigns.figures import Figures
from worker.domain.campaigns.report import Bucket, ByPrefix, ByResult, CampaignReport, OverTime

NOW = datetime(2026, 11, 22, 9, 30, tzinfo=UTC)
EVIL = "<script>alert(1)</script>\"'&\u202e\x07{{ 7 * 7 }}"
CAMPAIGN = Campaign(
    id=1,
    name="spring",
    account="default",
    account_id=1,
    lane="marketing",
    audience_id=1,
    audience="people",
    header=("mobile",),
    content="春装上市\n拒收请回复R",
    state=CampaignState.DONE,
    since=NOW,
    set_by="alice",
    reason=None,
    next_at=None,
    cron=None,
    time_zone="Asia/Shanghai",
    hours=None,
    leftover=Leftover.CONTINUE,
    missed=Missed.LATE,
    first_share=None,
    stop_share=None,
    created_at=NOW,
    created_by="alice",
)
AUDIENCE = Audience(1, "people", "people.csv", ("mobile",), "mobile", True, 1000, 12, 3, NOW, "alice")
RUN = Run(1, 1, NOW, RunState.DONE, None, Stage.REST, 1, 1, 1, NOW, None, NOW, NOW, None, None)
FIGURES = Figures(
    members=1000,
    expanded=990,
    unrenderable=10,
    remaining=0,
    statuses={"accepted": 40, "rejected": 20, "unknown": 5, "suppressed": 25, "delivered": 880, "undelivered": 20},
    suppressed={"cap": 5, "optout": 20},
    replies=30,
    optouts=7,
    first_call=NOW - timedelta(minutes=30),
    last_call=NOW,
    per_minute=0,
)
REPORT = CampaignReport(
    FIGURES,
    OverTime(
        timedelta(minutes=1),
        tuple(Bucket(NOW + timedelta(minutes=place), 300, 280, 5) for place in range(3)),
        Bucket(NOW + timedelta(minutes=3), 0, 40, 5),
    ),
    (ByResult("1", "成功", 940), ByResult("-8", None, 20), ByResult(None, "no response came", 5)),
    3,
    tuple(ByPrefix(str(prefix), 1300 - prefix, 20, 1) for prefix in range(130, 160)),
)
NOTHING = CampaignReport(
    Figures(1000, 0, 0, 1000, {}, {}, 0, 0, None, None, 0), over_time=None, results=(), other_results=0, prefixes=()
)


def page(campaign: Campaign = CAMPAIGN, report: CampaignReport = REPORT, runs: Sequence[Run] = (RUN,)) -> str:
    return html(campaign, AUDIENCE, runs, report, now=NOW)


def read(text: str) -> etree._Element:
    """The page as a strict parser reads it: anything that is not well-formed is an error."""
    return etree.fromstring(text)


def words(text: str) -> str:
    return " ".join(" ".join(read(text).itertext()).split())


@pytest.mark.parametrize(
    "report", [REPORT, NOTHING, replace(REPORT, figures=replace(FIGURES, remaining=40, members=1040))]
)
def test_the_page_is_well_formed_whatever_there_is_to_tell(report: CampaignReport) -> None:
    assert "spring" in words(page(report=report))


def test_the_key_figures_come_first_and_then_the_text() -> None:
    text = words(page())
    order = [
        text.index(part) for part in ("Delivered 880 93.6% of sent", "Sent 940", "Failed 40", "The text", "春装上市")
    ]
    assert order == sorted(order)


def test_members_left_out_are_shown_with_the_reason() -> None:
    text = words(page())
    for part in (
        "optout 20 They want no marketing",
        "cap 5 They had been sent to",
        "no text 10 Their row",
        "12 rows repeated",
    ):
        assert part in text


def test_members_never_sent_to_are_shown_with_the_reason_that_was_given() -> None:
    figures = replace(FIGURES, statuses=FIGURES.statuses | {"cancelled": 100}, members=1100)
    cancelled = replace(CAMPAIGN, state=CampaignState.CANCELLED, reason="wrong price")
    text = words(page(cancelled, replace(REPORT, figures=figures)))
    assert "cancelled 100 The campaign was called off before it was their turn. Reason: wrong price." in text


def test_nothing_that_anybody_wrote_is_markup() -> None:
    campaign = replace(CAMPAIGN, name=EVIL, content=EVIL, reason=EVIL, audience=EVIL, account=EVIL)
    report = replace(REPORT, results=(ByResult(EVIL, EVIL, 7), ByResult(None, EVIL, 7)))
    text = html(campaign, replace(AUDIENCE, source=EVIL), [replace(RUN, reason=EVIL), RUN], report, now=NOW)
    tree = read(text)
    assert tree.xpath("//script") == []
    assert "<script>alert(1)</script>" in tree.xpath("string(//h1)")
    assert "\u202e" not in text
    assert "\x07" not in text
    assert "{{ 7 * 7 }}" in tree.xpath("string(//blockquote)")


def test_it_needs_nothing_but_itself() -> None:
    tree = read(page())
    assert (
        tree.xpath(
            "//script | //link | //img | //iframe | //object | //@src | //@href | //@*[starts-with(name(), 'on')]"
        )
        == []
    )
    assert "url(" not in page()
    assert "@import" not in page()


def test_each_chart_has_a_title_a_description_and_a_table() -> None:
    tree = read(page())
    charts = tree.xpath("//svg[@role='img']")
    assert len(charts) == 4
    for chart in charts:
        assert chart.xpath("string(title)")
        assert chart.xpath("string(desc)")
        assert chart.xpath("ancestor::section//table//td")
    # All prefixes are in the table, though not all are drawn.
    assert "159" in tree.xpath("string(//section[h2='By carrier prefix']//table)")


def test_the_bars_of_what_became_of_the_members_fill_the_whole_width() -> None:
    bars = read(page()).xpath("//svg[contains(@aria-labelledby, 'whole')]/rect[@class!='track']/@width")
    assert sum(float(width.rstrip("%")) for width in bars) == pytest.approx(100, abs=0.01)


def test_times_are_those_of_the_campaign() -> None:
    assert "As it stood on 2026-11-22 17:30 CST" in words(page())


def test_several_runs_are_listed_and_one_is_not() -> None:
    assert "Runs" not in read(page()).xpath("//h2/text()")
    assert "Runs" in read(page(runs=[RUN, replace(RUN, id=2)])).xpath("//h2/text()")


def test_a_small_share_is_not_shown_as_nothing() -> None:
    figures = replace(FIGURES, members=1_000_000, remaining=999_000, optouts=0)
    assert "<0.1%" in words(page(report=replace(REPORT, figures=figures)))

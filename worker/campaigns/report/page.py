"""The report of a campaign as one page of HTML to be read, passed on and printed. It needs no script and no network."""

from collections.abc import Iterator, Sequence
from datetime import datetime
from functools import cache
from pathlib import Path
from zoneinfo import ZoneInfo

from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template

from worker.campaigns.report.charts import (
    CHART_HEIGHT,
    member_shares,
    percent,
    prefix_bar,
    result_bars,
    time_chart,
)
from worker.domain.campaigns.audience import Audience
from worker.domain.campaigns.campaign import Campaign, Run
from worker.domain.campaigns.figures import Figures
from worker.domain.campaigns.report import CampaignReport
from worker.domain.carrier import carrier_of
from worker.domain.escape import escaped
from worker.domain.status import State
from worker.present.reasons import MEMBERS_LEFT_OUT, NO_TEXT

TEMPLATE = Path(__file__).with_suffix(".html")
PREFIXES_DRAWN = 15
"""Prefixes in the chart, the most frequent. The table below it has all."""


def html(campaign: Campaign, audience: Audience, runs: Sequence[Run], report: CampaignReport, *, now: datetime) -> str:
    """Returns the page about these runs of the campaign, as they stood at `now`."""
    zone = ZoneInfo(campaign.time_zone)
    return _template().render(
        campaign=campaign,
        audience=audience,
        runs=runs,
        figures=report.figures,
        cards=_cards(report.figures),
        whole=member_shares(report.figures),
        over_time=report.over_time and time_chart(report.over_time, zone),
        results=result_bars(report),
        prefixes=tuple(map(prefix_bar, report.prefixes[:PREFIXES_DRAWN])),
        all_prefixes=[(prefix, carrier_of(prefix.prefix)) for prefix in report.prefixes],
        left_out=list(_left_out(campaign, runs, report.figures)),
        local=lambda moment: f"{moment.astimezone(zone):%Y-%m-%d %H:%M}",
        share=percent,
        zone=f"{now.astimezone(zone):%Z}",
        now=now,
        height=CHART_HEIGHT,
    )


@cache
def _template() -> Template:
    environment = Environment(
        loader=FileSystemLoader(TEMPLATE.parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_printable,
    )
    environment.filters["number"] = lambda count: f"{count:,}"
    return environment.get_template(TEMPLATE.name)


def _printable(value: object) -> object:
    # Some of the text is untrusted, and no page may have certain characters.
    return escaped(value, keep="\t\n\r") if type(value) is str else value


def _cards(figures: Figures) -> list[tuple[str, str, str, str]]:
    """The key figures, the most important first: class, name, the figure, and what it is of."""
    sent, members = figures.sent, figures.members
    cards = [
        ("delivered", "Delivered", f"{figures.delivered:,}", f"{percent(figures.delivered, sent)} of sent"),
        ("sent", "Sent", f"{sent:,}", f"{percent(sent, members)} of members"),
        ("failed", "Failed", f"{figures.failed:,}", "undelivered or rejected"),
        ("unknown", "Unknown", f"{figures.unknown:,}", "no answer from the gateway"),
        ("left-out", "Left out", f"{figures.left_out:,}", f"{percent(figures.left_out, members)} of members"),
        ("replies", "Replies", f"{figures.replies:,}", f"{percent(figures.replies, sent)} of sent"),
        ("optouts", "Opt-outs", f"{figures.optouts:,}", f"{percent(figures.optouts, sent)} of sent"),
    ]
    if figures.waiting:
        waiting = f"{percent(figures.waiting, members)} of members"
        cards.insert(2, ("queued", "To be sent", f"{figures.waiting:,}", waiting))
    return cards


def _left_out(campaign: Campaign, runs: Sequence[Run], figures: Figures) -> Iterator[tuple[str, int, str]]:
    """The members left out: the reason in a word, how many, and a sentence."""
    for reason, count in figures.suppressed.items():
        yield reason, count, MEMBERS_LEFT_OUT.get(reason, "")
    if figures.unrenderable:
        yield NO_TEXT, figures.unrenderable, MEMBERS_LEFT_OUT[NO_TEXT]
    reasons = dict.fromkeys(run.reason for run in runs if run.reason)
    if campaign.reason:
        reasons[campaign.reason] = None
    for status in (State.EXPIRED, State.CANCELLED):
        if count := figures.statuses.get(status, 0):
            yield (
                status,
                count,
                " ".join([MEMBERS_LEFT_OUT[status], *(f"Reason: {reason}." for reason in reasons)]),
            )

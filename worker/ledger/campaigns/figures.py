"""What the ledger says about campaigns in figures: a constant number of statements, whatever the number of recipients."""

from collections import Counter, defaultdict
from collections.abc import Sequence
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from sqlalchemy import Connection, func, select

from worker.domain.campaigns.campaign import Campaign, Run, RunState
from worker.domain.campaigns.figures import Figures, Walk, Walked, figures, walked
from worker.domain.campaigns.report import ByPrefix, ByResult, CampaignReport
from worker.domain.status import Report, State
from worker.ledger import tables as t
from worker.ledger.campaigns.counts import Count, counts
from worker.ledger.campaigns.replies import count_replies
from worker.ledger.campaigns.span import CALLED, Span, span_of, submissions_of
from worker.ledger.campaigns.timeline import called_by_step, over_time, scale_of

_HAD_A_CALL = frozenset({*CALLED, State.UNREPORTED, *Report})
_MOST_RESULTS = 12


def walks(connection: Connection, campaigns: Sequence[Campaign]) -> dict[int, Walked]:
    """Returns how far the runs of each of these campaigns have gone through its audience, by the campaign's id."""
    if not campaigns:
        return {}
    goods = select(t.audiences.c.id, t.audiences.c.good)
    audience_ids = {campaign.audience_id for campaign in campaigns}
    good: dict[int, int] = dict(connection.execute(goods.where(t.audiences.c.id.in_(audience_ids))).all())
    of_campaign = _walks(connection, [campaign.id for campaign in campaigns])
    return {
        campaign.id: walked(good[campaign.audience_id], of_campaign[campaign.id], campaign.state)
        for campaign in campaigns
    }


def _walks(connection: Connection, campaign_ids: Sequence[int]) -> defaultdict[int, list[Walk]]:
    run = t.runs.c
    query = (
        select(run.campaign_id, run.state, func.sum(run.made), func.sum(run.refused), func.count())
        .where(run.campaign_id.in_(campaign_ids))
        .group_by(run.campaign_id, run.state)
    )
    of_campaign: defaultdict[int, list[Walk]] = defaultdict(list)
    for campaign_id, state, expanded, unrenderable, count in connection.execute(query):
        of_campaign[campaign_id].append(Walk(RunState(state), int(expanded), int(unrenderable), count))
    return of_campaign


def campaign_figures(
    connection: Connection, campaign: Campaign, runs: Sequence[Run], *, report_wait: timedelta, now: datetime
) -> Figures:
    """Returns how these runs of the campaign stand. `report_wait` is how long a submission waits for its reports."""
    span = span_of(connection, runs, report_wait=report_wait, now=now)
    return _figures(connection, campaign, runs, span, counts(connection, campaign.account_id, span))


def campaign_report(
    connection: Connection, campaign: Campaign, runs: Sequence[Run], *, report_wait: timedelta, now: datetime
) -> CampaignReport:
    """Returns the report on these runs of the campaign.

    `report_wait` is how long a submission waits for its reports.
    """
    span = span_of(connection, runs, report_wait=report_wait, now=now)
    scale = scale_of(span.calls, ZoneInfo(campaign.time_zone))
    counted = counts(connection, campaign.account_id, span, scale)
    results, other_results = _results(connection, span)
    timeline = None
    if scale:
        called = called_by_step(connection, span, scale, report_wait=report_wait)
        timeline = over_time(scale, called, _by_step(counted))
    return CampaignReport(
        figures=_figures(connection, campaign, runs, span, counted),
        over_time=timeline,
        results=results,
        other_results=other_results,
        prefixes=_prefixes(counted),
    )


def _figures(
    connection: Connection, campaign: Campaign, runs: Sequence[Run], span: Span, counted: Sequence[Count]
) -> Figures:
    statuses: Counter[str] = Counter()
    suppressed: Counter[str] = Counter()
    for count in counted:
        statuses[count.status] += count.recipients
        if count.suppressed:
            suppressed[count.suppressed] += count.recipients
    good = select(t.audiences.c.good).where(t.audiences.c.id == campaign.audience_id)
    steps = (Walk(run.state, run.expanded, run.unrenderable) for run in runs)
    walk = walked(connection.execute(good).scalar_one(), steps, campaign.state)
    replies, optouts = count_replies(connection, campaign.account_id, runs, span)
    ordered = dict(sorted(suppressed.items()))
    return figures(walk, statuses, ordered, calls=span.calls, replies=replies, optouts=optouts)


def _by_step(counted: Sequence[Count]) -> Counter[tuple[str, int]]:
    """The recipients that were reported on, by status and step."""
    reported: Counter[tuple[str, int]] = Counter()
    for count in counted:
        if count.step is not None:
            reported[count.status, count.step] += count.recipients
    return reported


def _results(connection: Connection, span: Span) -> tuple[tuple[ByResult, ...], int]:
    """Returns the gateway's most frequent answers, and how many recipients had another: any text may follow a code."""
    row = t.submissions.c
    recipients = func.sum(row.mobiles)
    query = (
        select(row.result, row.tips, recipients, func.sum(recipients).over())
        .where(*submissions_of(span.run_ids, span.submissions), row.state.in_((*CALLED, State.UNREPORTED)))
        .group_by(row.result, row.tips)
        .order_by(recipients.desc(), row.result, row.tips)
        .limit(_MOST_RESULTS)
    )
    rows = connection.execute(query).all()
    results = tuple(ByResult(result, tips, int(count)) for result, tips, count, _ in rows)
    total = int(rows[0][3]) if rows else 0
    return results, total - sum(result.recipients for result in results)


def _prefixes(counted: Sequence[Count]) -> tuple[ByPrefix, ...]:
    """The prefixes that were called, the most frequent first."""
    called: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for count in counted:
        if count.status in _HAD_A_CALL:
            called[count.prefix][count.status] += count.recipients
    prefixes = (
        ByPrefix(prefix, statuses.total(), statuses[Report.DELIVERED], statuses[Report.UNDELIVERED])
        for prefix, statuses in called.items()
    )
    return tuple(sorted(prefixes, key=lambda row: (-row.called, row.prefix)))

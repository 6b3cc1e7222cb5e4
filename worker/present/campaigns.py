"""Campaigns, their figures and their reports: what a page shows of one, and the same as JSON."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from worker.domain.campaigns.audience import Audience
from worker.domain.campaigns.campaign import Campaign, CampaignState, Run
from worker.domain.campaigns.figures import Figures, Walked
from worker.domain.campaigns.report import CampaignReport
from worker.domain.carrier import carrier_of
from worker.ledger.campaigns.replies import CampaignReply

_OVER = frozenset({CampaignState.DONE, CampaignState.CANCELLED})
_INTERNAL = frozenset({"account_id", "audience_id", "header", "campaign_id", "looked_at", "seen_message_id"})
_NAMES = {"expanded": "made", "unrenderable": "refused", "set_by": "said_by"}
"""The names in JSON, which stay as they are, of fields that have a better one in Python."""
_SUMS = ("waiting", "sent", "delivered", "unreported", "failed", "unknown", "left_out")
_LISTED = (
    "name", "state", "since", "reason", "account", "lane", "audience", "content", "next_at", "cron", "time_zone",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class CampaignStatus:
    """A campaign with those of its runs that are looked at, and its figures, as they stood at that time."""

    campaign: Campaign
    runs: Sequence[Run]
    figures: Figures
    at: datetime

    @property
    def is_final(self) -> bool:
        """Whether nothing of it will change by itself any more, within the day."""
        figures = self.figures
        return self.campaign.state in _OVER and not (figures.waiting or figures.unreported or figures.unknown)


def listed_campaign_json(campaign: Campaign, walk: Walked) -> dict[str, Any]:
    """A campaign of a list, with how far it has gone through its audience."""
    values = _public(campaign)
    progress = {
        "members": walk.members,
        "made": walk.expanded,
        "refused": walk.unrenderable,
        "remaining": walk.remaining,
        "cancelled": walk.cancelled,
        "expired": walk.expired,
    }
    return {name: values[name] for name in _LISTED} | progress


def campaign_json(status: CampaignStatus) -> dict[str, Any]:
    """A campaign with its figures and runs; `time_left` is in seconds."""
    return {
        **_public(status.campaign),
        "figures": _figures(status.figures),
        "runs": [_public(run) for run in status.runs],
    }


def campaign_report_json(status: CampaignStatus, report: CampaignReport) -> dict[str, Any]:
    """The same with its course over time, by result and by prefix."""
    over_time = report.over_time and {
        "step_seconds": int(report.over_time.step.total_seconds()),
        "buckets": [asdict(bucket) for bucket in report.over_time.buckets],
        "later": asdict(report.over_time.later),
    }
    return campaign_json(status) | {
        "over_time": over_time,
        "results": [asdict(result) for result in report.results],
        "other_results": report.other_results,
        "prefixes": [{**asdict(prefix), "carrier": carrier_of(prefix.prefix)} for prefix in report.prefixes],
    }


def campaign_reply_json(reply: CampaignReply) -> dict[str, Any]:
    """What somebody wrote back to a campaign."""
    return asdict(reply)


def audience_json(audience: Audience) -> dict[str, Any]:
    """An audience, without its members."""
    return {name: value for name, value in asdict(audience).items() if name != "id"}


def _figures(figures: Figures) -> dict[str, Any]:
    left = figures.time_left
    return {
        "members": figures.members,
        "made": figures.expanded,
        "refused": figures.unrenderable,
        "remaining": figures.remaining,
        "statuses": figures.statuses,
        "suppressed": figures.suppressed,
        "replies": figures.replies,
        "optouts": figures.optouts,
        "first_call": figures.first_call,
        "last_call": figures.last_call,
        "per_minute": figures.per_minute,
        **{name: getattr(figures, name) for name in _SUMS},
        "time_left": None if left is None else round(left.total_seconds()),
    }


def _public(value: Campaign | Run) -> dict[str, Any]:
    return {_NAMES.get(name, name): field for name, field in asdict(value).items() if name not in _INTERNAL}

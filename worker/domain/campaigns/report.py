"""The report of a campaign: its figures, what happened when, what the gateway answered, and how each prefix of mobiles
did.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

from worker.domain.campaigns.figures import Figures


@dataclass(frozen=True, slots=True)
class Bucket:
    """One step of a run over time, from `at` until the next step: recipients called, and recipients reported on."""

    at: datetime
    called: int
    delivered: int
    undelivered: int


@dataclass(frozen=True, slots=True)
class OverTime:
    """A run over time, in steps that fit its length. `later` has what happened after the last step."""

    step: timedelta
    buckets: tuple[Bucket, ...]
    later: Bucket


@dataclass(frozen=True, slots=True)
class ByResult:
    """How many recipients the gateway answered for with this code and these tips. Both are None where no response came."""

    result: str | None
    tips: str | None
    recipients: int


@dataclass(frozen=True, slots=True)
class ByPrefix:
    """The recipients whose mobiles begin with these digits: how many were called, and what was reported on them."""

    prefix: str
    called: int
    delivered: int
    undelivered: int


@dataclass(frozen=True, slots=True)
class CampaignReport:
    """A campaign, or some of its runs, from all sides.

    `results` has the most frequent answers of the gateway, `other_results` counts the recipients of all others.
    """

    figures: Figures
    over_time: OverTime | None
    results: tuple[ByResult, ...]
    other_results: int
    prefixes: tuple[ByPrefix, ...]

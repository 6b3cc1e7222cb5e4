"""Times and shares as the commands of `sms campaign` print them."""

from datetime import datetime
from zoneinfo import ZoneInfo

from worker.domain.campaigns.campaign import Campaign


def local(moment: datetime, campaign: Campaign) -> str:
    """The time in the zone of the campaign, to the minute: `2026-12-01 09:00 CST`."""
    return f"{moment.astimezone(ZoneInfo(campaign.time_zone)):%Y-%m-%d %H:%M %Z}"


def share(part: int, whole: int) -> str:
    """`12.3%`; blank where the whole is 0."""
    return f"{part / whole:.1%}" if whole else ""

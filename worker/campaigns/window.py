"""When a campaign may send: within the hours of its lane, and its own."""

from datetime import datetime, tzinfo
from zoneinfo import ZoneInfo

from worker.config import Settings
from worker.domain.campaigns.campaign import Campaign, Window, hours_of, window
from worker.domain.hours import Hours, read_hours
from worker.domain.lane import Lane


def hours_of_campaign(campaign: Campaign, lane: Lane, account_zone: tzinfo) -> list[tuple[Hours, tzinfo]]:
    """Returns the hours of the lane, in the account's time zone, and the campaign's own, in its own zone."""
    own = read_hours(campaign.hours) if campaign.hours else None
    return hours_of(lane.hours, account_zone, own, ZoneInfo(campaign.time_zone))


def window_of(settings: Settings, campaign: Campaign, at: datetime) -> Window | None:
    """Returns the next window of a campaign from `at` on."""
    account = settings.accounts.get(campaign.account)
    zone = account.time_zone if account else ZoneInfo(campaign.time_zone)
    return window(hours_of_campaign(campaign, settings.lanes[campaign.lane], zone), at)

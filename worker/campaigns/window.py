"""When a campaign may send: within the hours of its lane, and its own."""

from datetime import datetime
from zoneinfo import ZoneInfo

from worker.config import Settings
from worker.domain.campaigns.campaign import Campaign, Window, hours_of, window
from worker.domain.hours import read_hours


def window_of(settings: Settings, campaign: Campaign, at: datetime) -> Window | None:
    """Returns the next window of a campaign from `at` on.

    The hours of its lane are in its account's time zone, its own hours in its own.
    """
    own_zone = ZoneInfo(campaign.time_zone)
    account = settings.accounts.get(campaign.account)
    own = read_hours(campaign.hours) if campaign.hours else None
    hours = hours_of(settings.lanes[campaign.lane].hours, account.time_zone if account else own_zone, own, own_zone)
    return window(hours, at)

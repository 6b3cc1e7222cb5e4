"""How long a campaign takes, and when: its calls at the rate of its account, within the hours in which it may send."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta, tzinfo

from worker.domain.campaigns.campaign import Leftover, window
from worker.domain.hours import Hours
from worker.domain.rate import Rate

MAX_FORECAST = timedelta(days=366)
"""A longer campaign is shown as taking this long, with an end that is not known: nobody plans for more."""


@dataclass(frozen=True, slots=True)
class Forecast:
    """When a campaign sends, if nothing else does and nothing stops it."""

    takes: timedelta | None
    """The time that its calls take, without the waits for its hours. None where no rate is known."""
    starts_at: datetime | None
    """None where its hours have no moment in common, so that it never sends."""
    ends_at: datetime | None
    left_over: int
    """Recipients that are not sent to: the first window closes before their turn, and the campaign ends with it."""


def forecast(
    recipients: int,
    calls: int,
    rate: Rate,
    hours: Iterable[tuple[Hours, tzinfo]],
    at: datetime,
    leftover: Leftover,
) -> Forecast:
    """Returns what to expect of that many recipients in that many calls, from `at` on.

    Without a rate the time is not known.
    """
    hours = list(hours)
    first = window(hours, at)
    takes = _takes(recipients, calls, rate)
    if first is None:
        return Forecast(takes, None, None, 0)
    if takes is None:
        return Forecast(None, first.opens, None, 0)
    if leftover is Leftover.EXPIRE and first.closes is not None and takes > first.closes - first.opens:
        sent = int(recipients * ((first.closes - first.opens) / takes))
        return Forecast(takes, first.opens, first.closes, recipients - sent)
    return Forecast(takes, first.opens, _end(hours, at, takes), 0)


def _takes(recipients: int, calls: int, rate: Rate) -> timedelta | None:
    seconds = [count / limit for count, limit in ((calls, rate.calls), (recipients, rate.mobiles)) if limit]
    return timedelta(seconds=min(max(seconds), MAX_FORECAST.total_seconds())) if seconds else None


def _end(hours: Iterable[tuple[Hours, tzinfo]], at: datetime, left: timedelta) -> datetime | None:
    """When calls that take so long are over, window after window. None where that is too far away to say."""
    until = at + MAX_FORECAST
    while at < until and (here := window(hours, at)):
        if here.closes is None or here.closes - here.opens >= left:
            return here.opens + left
        left -= here.closes - here.opens
        at = here.closes
    return None

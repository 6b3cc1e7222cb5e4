"""How long a campaign takes, and when it begins and ends within its hours."""

from datetime import UTC, datetime, time, timedelta, tzinfo
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.domain.campaigns.campaign import Leftover
from worker.domain.campaigns.forecast import MAX_FORECAST, Forecast, forecast
from worker.domain.hours import Hours, earliest
from worker.domain.rate import Rate

SHANGHAI = ZoneInfo("Asia/Shanghai")
DAY = (Hours(time(8), time(21)), SHANGHAI)
SECOND, HOUR = timedelta(seconds=1), timedelta(hours=1)


def local(day: int, hour: int, minute: int = 0) -> datetime:
    return datetime(2026, 11, day, hour, minute, tzinfo=SHANGHAI)


NOON = local(22, 12)


def campaign_forecast(
    recipients: int,
    calls: int,
    rate: Rate,
    *hours: tuple[Hours, tzinfo],
    at: datetime = NOON,
    leftover: Leftover = Leftover.CONTINUE,
) -> Forecast:
    return forecast(recipients, calls, rate, hours, at, leftover)


@pytest.mark.parametrize(
    ("rate", "seconds"),
    [(Rate(5, None), 20), (Rate(None, 10), 500), (Rate(5, 10), 500), (Rate(5, 1000), 20), (Rate(None, None), None)],
)
def test_the_scarcer_of_calls_and_mobiles_says_how_long_it_takes(rate: Rate, seconds: int | None) -> None:
    takes = seconds and seconds * SECOND
    assert campaign_forecast(5000, 100, rate) == Forecast(takes, local(22, 12), takes and local(22, 12) + takes, 0)


def test_what_does_not_fit_in_one_window_goes_on_in_the_next() -> None:
    estimate = campaign_forecast(0, 20 * 3600, Rate(1), DAY, at=local(22, 20))
    assert (estimate.starts_at, estimate.ends_at) == (local(22, 20), local(24, 14))
    assert (estimate.takes, estimate.left_over) == (20 * HOUR, 0)


def test_what_comes_at_night_begins_in_the_morning() -> None:
    estimate = campaign_forecast(0, 3600, Rate(1), DAY, at=local(22, 23))
    assert (estimate.starts_at, estimate.ends_at) == (local(23, 8), local(23, 9))


def test_of_two_hours_each_in_its_zone_both_must_be_open() -> None:
    london = (Hours(time(9), time(10)), ZoneInfo("Europe/London"))
    estimate = campaign_forecast(0, 2 * 3600, Rate(1), DAY, london)
    assert (estimate.starts_at, estimate.ends_at) == (local(22, 17), local(23, 18))


def test_hours_that_never_meet_never_begin() -> None:
    night = (Hours(time(22), time(6)), SHANGHAI)
    assert campaign_forecast(10, 10, Rate(1), DAY, night) == Forecast(10 * SECOND, None, None, 0)


def test_a_campaign_that_ends_with_its_window_leaves_recipients_over() -> None:
    estimate = campaign_forecast(8 * 3600, 8 * 3600, Rate(1), DAY, at=local(22, 20), leftover=Leftover.EXPIRE)
    assert (estimate.starts_at, estimate.ends_at, estimate.left_over) == (local(22, 20), local(22, 21), 7 * 3600)
    fits = campaign_forecast(3600, 3600, Rate(1), DAY, at=local(22, 20), leftover=Leftover.EXPIRE)
    assert (fits.ends_at, fits.left_over) == (local(22, 21), 0)


def test_an_endless_campaign_is_shown_as_taking_the_longest_time() -> None:
    estimate = campaign_forecast(1, 1_000_000, Rate(1e-9), (Hours(time(8), time(8, 1)), SHANGHAI))
    assert (estimate.takes, estimate.ends_at) == (MAX_FORECAST, None)


@given(
    st.integers(0, 365 * 24 * 60).map(lambda minutes: datetime(2026, 1, 1, tzinfo=UTC) + timedelta(minutes=minutes)),
    st.integers(1, 300_000),
    st.sampled_from([SHANGHAI, ZoneInfo("Europe/Berlin"), ZoneInfo("America/Santiago")]),
)
def test_it_ends_after_as_much_time_within_the_hours_as_it_takes(at: datetime, seconds: int, zone: ZoneInfo) -> None:
    hours = Hours(time(8), time(21))
    estimate = campaign_forecast(0, seconds, Rate(1), (hours, zone), at=at)
    assert estimate.ends_at
    assert estimate.starts_at == earliest(hours, zone, at)
    minute = timedelta(minutes=1)
    assert earliest(hours, zone, estimate.ends_at - min(minute, seconds * SECOND) / 2) < estimate.ends_at
    minutes = int((estimate.ends_at - at) / minute)
    open_minutes = sum(earliest(hours, zone, at + n * minute) == at + n * minute for n in range(minutes))
    assert abs(open_minutes - seconds / 60) <= 2 + (estimate.ends_at - at).days

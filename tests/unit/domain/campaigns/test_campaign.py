"""When a campaign may send, and what stops it."""

from datetime import UTC, datetime, time, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.domain.campaigns.campaign import LEAST_KNOWN, Missed, Window, is_missed, too_many_bad, window
from worker.domain.hours import Hours, earliest, read_hours

SHANGHAI, BERLIN, NEW_YORK = ZoneInfo("Asia/Shanghai"), ZoneInfo("Europe/Berlin"), ZoneInfo("America/New_York")
NOON = datetime(2026, 11, 22, 4, 0, tzinfo=UTC)
DAY = (Hours(time(8), time(21)), SHANGHAI)


def test_without_hours_the_window_is_open_and_never_closes() -> None:
    assert window([], NOON) == Window(NOON, None)


def test_within_its_hours_it_is_open_until_they_end() -> None:
    assert window([DAY], NOON) == Window(NOON, datetime(2026, 11, 22, 13, 0, tzinfo=UTC))


def test_after_its_hours_it_opens_the_next_day() -> None:
    night = datetime(2026, 11, 22, 13, 0, tzinfo=UTC)
    assert window([DAY], night) == Window(
        datetime(2026, 11, 23, 0, 0, tzinfo=UTC), datetime(2026, 11, 23, 13, 0, tzinfo=UTC)
    )


def test_several_hours_are_those_that_they_have_in_common() -> None:
    own = (read_hours("06:00-10:30"), SHANGHAI)
    assert window([DAY, own], NOON) == Window(
        datetime(2026, 11, 23, 0, 0, tzinfo=UTC), datetime(2026, 11, 23, 2, 30, tzinfo=UTC)
    )


def test_hours_without_a_moment_in_common_make_no_window() -> None:
    assert window([DAY, (read_hours("22:00-23:00"), SHANGHAI)], NOON) is None


def test_hours_in_two_time_zones_meet_where_they_meet() -> None:
    next_window = window([DAY, (read_hours("09:00-17:00"), BERLIN)], NOON)
    assert next_window == Window(datetime(2026, 11, 22, 8, 0, tzinfo=UTC), datetime(2026, 11, 22, 13, 0, tzinfo=UTC))


def test_a_day_on_which_the_clock_is_put_forward_is_shorter() -> None:
    night = (read_hours("22:00-06:00"), BERLIN)
    next_window = window([night], datetime(2027, 3, 27, 21, 0, tzinfo=UTC))
    assert next_window is not None
    assert next_window.closes is not None
    assert next_window.closes - next_window.opens == timedelta(hours=7)


_hours = st.builds(
    lambda start, length: Hours(
        time(start // 60, start % 60), time((start + length) % 1440 // 60, (start + length) % 60)
    ),
    st.integers(0, 1439),
    st.integers(1, 1439),
)


@given(
    st.lists(st.tuples(_hours, st.sampled_from([SHANGHAI, BERLIN, NEW_YORK])), max_size=3),
    st.integers(0, 2 * 365 * 86_400).map(lambda seconds: NOON + timedelta(seconds=seconds)),
)
def test_a_window_is_open_from_its_first_to_its_last_moment_and_shut_at_its_end(hours, at) -> None:
    next_window = window(hours, at)
    if next_window is None:
        return
    assert next_window.opens >= at
    for moment in (next_window.opens, next_window.closes and next_window.closes - timedelta(microseconds=1)):
        assert moment is None or all(earliest(span, zone, moment) == moment for span, zone in hours)
    assert next_window.closes is None or any(
        earliest(span, zone, next_window.closes) > next_window.closes for span, zone in hours
    )


@pytest.mark.parametrize(("late", "missed", "is_so"), [(59, "skip", False), (61, "skip", True), (9999, "late", False)])
def test_a_run_that_is_late_is_missed_where_late_ones_are_skipped(late: int, missed: str, is_so: bool) -> None:
    assert is_missed(NOON, NOON + timedelta(seconds=late), Missed(missed)) is is_so


@pytest.mark.parametrize(
    ("bad", "known", "most", "is_so"),
    [
        (50, LEAST_KNOWN - 1, 0.05, False),
        (5, LEAST_KNOWN, 0.05, False),
        (6, LEAST_KNOWN, 0.05, True),
        (100, 100, None, False),
    ],
)
def test_a_campaign_stops_when_more_than_its_share_of_enough_results_are_bad(bad, known, most, is_so) -> None:
    assert too_many_bad(bad, known, most) is is_so

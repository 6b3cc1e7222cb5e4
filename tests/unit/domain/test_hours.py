from datetime import UTC, datetime, time, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.domain.hours import Hours, earliest, read_hours

SHANGHAI = ZoneInfo("Asia/Shanghai")
BERLIN = ZoneInfo("Europe/Berlin")
DAY = Hours(time(8), time(21))
NIGHT = Hours(time(22), time(6))


def local(day: int, hour: int, minute: int = 0, second: int = 0) -> datetime:
    return datetime(2026, 11, day, hour, minute, second, tzinfo=SHANGHAI)


@pytest.mark.parametrize(
    ("hours", "at", "then"),
    [
        (DAY, local(22, 20, 59, 59), local(22, 20, 59, 59)),
        (DAY, local(22, 21), local(23, 8)),
        (DAY, local(22, 23, 30), local(23, 8)),
        (DAY, local(23, 0, 30), local(23, 8)),
        (DAY, local(23, 7, 59, 59), local(23, 8)),
        (DAY, local(23, 8), local(23, 8)),
        (NIGHT, local(22, 5, 59), local(22, 5, 59)),
        (NIGHT, local(22, 6), local(22, 22)),
        (NIGHT, local(22, 23), local(22, 23)),
        (None, local(22, 3), local(22, 3)),
    ],
)
def test_what_comes_outside_the_hours_waits_for_their_beginning(
    hours: Hours | None, at: datetime, then: datetime
) -> None:
    assert earliest(hours, SHANGHAI, at.astimezone(UTC)) == then


@pytest.mark.parametrize(
    ("at", "then"),
    [
        (
            datetime(2026, 3, 28, 22, tzinfo=BERLIN),
            datetime(2026, 3, 29, 8, tzinfo=BERLIN),
        ),  # 02:00 to 03:00 is left out
        (datetime(2026, 10, 24, 22, tzinfo=BERLIN), datetime(2026, 10, 25, 8, tzinfo=BERLIN)),  # 02:00 to 03:00 twice
    ],
)
def test_the_clock_is_the_one_on_the_wall_also_when_it_is_changed(at: datetime, then: datetime) -> None:
    assert earliest(DAY, BERLIN, at) == then


@given(
    st.times().map(lambda moment: moment.replace(microsecond=0)),
    st.times().map(lambda moment: moment.replace(microsecond=0)),
    st.integers(0, 366 * 86400).map(lambda seconds: datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=seconds)),
)
def test_the_moment_is_within_the_hours_and_at_most_a_day_away(start: time, end: time, at: datetime) -> None:
    if start == end:
        return
    hours = Hours(start, end)
    then = earliest(hours, SHANGHAI, at)
    assert at <= then <= at + timedelta(days=1)
    assert earliest(hours, SHANGHAI, then) == then


def test_hours_are_written_from_to() -> None:
    assert read_hours("08:00-21:00") == DAY
    assert read_hours("09:30-24:00") == Hours(time(9, 30), time(0))


@pytest.mark.parametrize(
    "written", ["", "8-21", "08:00", "08:00-25:00", "08:00-24:30", "08:00-08:00", "00:00-24:00", "24:00-08:00"]
)
def test_what_is_no_hours_is_refused(written: str) -> None:
    with pytest.raises(ValueError, match="hours"):
        read_hours(written)

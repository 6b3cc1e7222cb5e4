"""Cron lines, in time zones that put their clocks forward and back."""

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest

from worker.campaigns.cron import BadCron, next_time

SHANGHAI, BERLIN = ZoneInfo("Asia/Shanghai"), ZoneInfo("Europe/Berlin")
NOW = datetime(2026, 11, 22, 4, 0, tzinfo=UTC)


def times(line: str, zone: ZoneInfo, after: datetime, count: int) -> list[str]:
    moments = []
    for _ in range(count):
        after = next_time(line, zone, after)
        moments.append(after.astimezone(zone).isoformat(timespec="minutes"))
    return moments


def test_a_line_is_read_in_its_time_zone() -> None:
    assert next_time("0 9 * * 1-5", SHANGHAI, NOW) == datetime(2026, 11, 23, 1, 0, tzinfo=UTC)


def test_what_is_due_now_was_due_already() -> None:
    assert next_time("0 12 * * *", SHANGHAI, NOW) == datetime(2026, 11, 23, 4, 0, tzinfo=UTC)


def test_what_is_due_in_the_hour_that_the_clock_leaves_out_is_due_right_after_it() -> None:
    before = datetime(2027, 3, 27, 12, 0, tzinfo=UTC)
    assert times("30 2 * * *", BERLIN, before, 2) == ["2027-03-28T03:00+02:00", "2027-03-29T02:30+02:00"]


def test_what_is_due_in_the_hour_that_comes_twice_is_due_once() -> None:
    before = datetime(2027, 10, 30, 12, 0, tzinfo=UTC)
    assert times("30 2 * * *", BERLIN, before, 2) == ["2027-10-31T02:30+02:00", "2027-11-01T02:30+01:00"]


@pytest.mark.parametrize("line", ["", "soon", "61 * * * *", "0 9 30 2 *", "* * * *", "0 9 * * * *"])
def test_a_bad_cron_line_or_a_day_that_never_comes_is_refused_with_an_example(line: str) -> None:
    with pytest.raises(BadCron, match=r"write one like `0 9 \* \* 1-5`"):
        next_time(line, SHANGHAI, NOW)

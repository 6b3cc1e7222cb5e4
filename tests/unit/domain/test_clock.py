"""When a clock is wrong, by the other clocks that were read between two looks at it."""

from datetime import UTC, datetime, timedelta

import pytest

from worker.domain.clock import BOUND, in_words, is_wrong, skew

NOON = datetime(2026, 11, 24, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
A_LITTLE = BOUND / 2


def test_who_answers_late_is_not_off_for_that() -> None:
    assert skew(NOON, NOON + A_LITTLE, NOON + BOUND * 3) == timedelta(0)


def test_a_clock_is_ahead_or_behind_by_what_the_time_on_the_way_does_not_explain() -> None:
    assert skew(NOON, NOON - HOUR, NOON + A_LITTLE) == HOUR
    assert skew(NOON, NOON + HOUR, NOON + A_LITTLE) == A_LITTLE - HOUR


@pytest.mark.parametrize(
    ("skews", "wrong"),
    [
        ([], False),
        ([HOUR], True),
        ([-HOUR, -HOUR], True),
        ([HOUR, -HOUR], True),
        ([A_LITTLE, HOUR], False),
        ([BOUND, BOUND], False),
    ],
)
def test_a_clock_is_wrong_if_it_is_far_from_each_that_it_was_compared_with(skews: list[timedelta], wrong: bool) -> None:
    assert is_wrong(skews) is wrong


def test_how_far_it_is_off_is_told_by_the_nearest() -> None:
    assert (in_words([HOUR, 2 * HOUR]), in_words([-HOUR])) == ("3600 s ahead", "3600 s behind")

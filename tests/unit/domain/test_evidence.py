"""Which unknown calls were probably not taken."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.domain.evidence import LEAST_REPORTED, LEAST_SILENCE, NEAR, SEVERAL, Neighbour, probably_not_taken

CALLED = datetime(2026, 11, 24, 9, 0, tzinfo=UTC)


def s(seconds: float) -> timedelta:
    return timedelta(seconds=seconds)


def neighbour(at: float, delay: float | None = 30) -> Neighbour:
    return Neighbour(CALLED + s(at), None if delay is None else CALLED + s(at) + s(delay))


AROUND = [neighbour(at) for at in (-30, -20, -10, 10, 20, 30)]


def test_a_call_that_is_silent_for_several_times_the_delay_of_its_neighbours_was_probably_not_taken() -> None:
    assert probably_not_taken(CALLED, AROUND, now=CALLED + s(149)) is None
    assert probably_not_taken(CALLED, AROUND, now=CALLED + s(150)) == (
        "no report in 2 min; those of 6 calls made just before and after it came within 30 s"
    )


def test_reports_that_come_at_once_leave_it_the_least_time_all_the_same() -> None:
    quick = [neighbour(at, 0.1) for at in (-3, -2, -1, 1, 2, 3)]
    assert probably_not_taken(CALLED, quick, now=CALLED + LEAST_SILENCE - s(1)) is None
    assert probably_not_taken(CALLED, quick, now=CALLED + LEAST_SILENCE)


@pytest.mark.parametrize("missing", [slice(0, 3), slice(3, 6)])
def test_without_calls_on_both_sides_that_were_reported_on_it_is_open(missing: slice) -> None:
    neighbours = list(AROUND)
    neighbours[missing] = [
        neighbour(call.called_at.timestamp() - CALLED.timestamp(), None) for call in neighbours[missing]
    ]
    assert probably_not_taken(CALLED, neighbours, now=CALLED + s(3600)) is None
    del neighbours[missing]
    assert probably_not_taken(CALLED, neighbours, now=CALLED + s(3600)) is None


def test_neighbours_from_long_before_or_after_do_not_count() -> None:
    far = [neighbour(at + (1 if at > 0 else -1) * NEAR.total_seconds()) for at in (-30, -20, -10, 10, 20, 30)]
    assert probably_not_taken(CALLED, far, now=CALLED + s(86400)) is None


def test_where_reports_are_missing_silence_says_nothing() -> None:
    assert probably_not_taken(CALLED, [*AROUND, neighbour(5, None)], now=CALLED + s(3600)) is None


def test_the_longest_delay_counts_and_not_the_usual_one() -> None:
    slow = [*AROUND, neighbour(5, 600)]
    assert probably_not_taken(CALLED, slow, now=CALLED + s(2999)) is None
    assert probably_not_taken(CALLED, slow, now=CALLED + s(3000))


@given(
    st.lists(st.tuples(st.floats(-900, 900), st.floats(0, 100)), min_size=2 * LEAST_REPORTED, max_size=60),
    st.floats(0, 5000),
)
def test_no_call_is_called_so_before_it_was_silent_for_several_times_as_long_as_a_neighbour(
    calls: list[tuple[float, float]], waited: float
) -> None:
    around = [neighbour(*call) for call in calls]
    if probably_not_taken(CALLED, around, now=CALLED + s(waited)):
        nearest = min(delay for _, delay in calls)
        assert s(waited) >= max(LEAST_SILENCE, SEVERAL * s(nearest))

"""Which replies repeat one that came before."""

from collections import Counter
from datetime import UTC, datetime, timedelta
from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.domain.push import REPEAT_WINDOW, Reply, first_replies, numbered

NOW = datetime(2026, 11, 22, 4, 0, tzinfo=UTC)
T, OTHER = Reply("13800000001", "7", "T"), Reply("13800000001", "8", "T")


def first(*pushes: tuple[float, int]) -> list[float]:
    """The minutes at which a reply was new. Each push is its minute, and its number of replies T."""
    replies = first_replies((NOW + timedelta(minutes=at), [T] * times) for at, times in pushes)
    return [(at - NOW) / timedelta(minutes=1) for at, _ in replies]


def test_the_same_reply_is_numbered_and_others_are_not_counted_with_it() -> None:
    assert list(numbered([T, OTHER, T, T])) == [(T, 1), (OTHER, 1), (T, 2), (T, 3)]


@pytest.mark.parametrize(
    ("pushes", "replies"),
    [
        ([(0, 1)], [0]),
        ([(0, 2)], [0, 0]),
        ([(0, 1), (0, 1)], [0]),
        ([(0, 1), (30, 1)], [0]),
        ([(0, 1), (30.1, 1)], [0, 30.1]),
        ([(0, 1), (20, 1), (40, 1)], [0]),
        ([(0, 1), (20, 1), (40, 1), (90, 1)], [0, 90]),
        ([(0, 1), (20, 2)], [0, 20]),
        ([(0, 2), (20, 1), (40, 2)], [0, 0, 40]),
    ],
)
def test_what_comes_within_half_an_hour_of_the_last_repeats_it_in_whatever_order_they_come(
    pushes: list[tuple[float, int]], replies: list[float]
) -> None:
    assert {tuple(first(*order)) for order in permutations(pushes)} == {tuple(replies)}


def test_other_replies_are_no_repeats() -> None:
    later = NOW + timedelta(minutes=1)
    assert first_replies([(later, [OTHER]), (NOW, [T])]) == [(NOW, T), (later, OTHER)]


@given(st.lists(st.tuples(st.timedeltas(timedelta(), REPEAT_WINDOW), st.lists(st.sampled_from([T, OTHER])))))
def test_within_one_window_a_reply_is_there_as_often_as_the_push_that_has_it_most_often(
    pushes: list[tuple[timedelta, list[Reply]]],
) -> None:
    most: Counter[Reply] = Counter()
    for _, replies in pushes:
        most |= Counter(replies)
    assert Counter(reply for _, reply in first_replies((NOW + later, replies) for later, replies in pushes)) == most

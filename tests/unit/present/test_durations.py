"""Lengths of time in words."""

from datetime import timedelta

import pytest

from worker.present.durations import duration_in_words


@pytest.mark.parametrize(
    ("duration", "words"),
    [
        (timedelta(days=1, hours=2, minutes=3), "1 d 2 h"),
        (timedelta(minutes=3, seconds=20), "3 min 20 s"),
        (timedelta(hours=2, seconds=5), "2 h 5 s"),
        (timedelta(days=400), "400 d"),
        (timedelta(milliseconds=1), "1 s"),
    ],
)
def test_a_duration_is_told_in_its_two_greatest_units(duration: timedelta, words: str) -> None:
    assert duration_in_words(duration) == words

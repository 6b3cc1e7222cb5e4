"""How a cap is written."""

import pytest

from worker.domain.caps import Cap, read_cap


@pytest.mark.parametrize(
    ("written", "cap"),
    [
        ("1/minute", Cap(1, 60)),
        ("5/hour", Cap(5, 3600)),
        ("10/day", Cap(10, 86_400)),
        ("3/10 minutes", Cap(3, 600)),
        ("3/10minutes", Cap(3, 600)),
        ("1000/31 days", Cap(1000, 31 * 86_400)),
        ("1/second", Cap(1, 1)),
    ],
)
def test_a_cap_is_so_many_times_in_a_window(written: str, cap: Cap) -> None:
    assert read_cap(written) == cap


@pytest.mark.parametrize(
    "written",
    ["", "5", "5/", "/hour", "5/hr", "5 / hour", "-1/hour", "1.5/hour", "5/hour\n", "５/hour", "5/month", "x"],
)
def test_what_is_no_cap_is_told_with_how_one_is_written(written: str) -> None:
    with pytest.raises(ValueError, match="is not a cap; write one like 1/minute, 5/hour"):
        read_cap(written)


@pytest.mark.parametrize("written", ["0/hour", "1001/day", "999999999/day"])
def test_a_cap_that_caps_nothing_or_all_is_told(written: str) -> None:
    with pytest.raises(ValueError, match="at least 1 and at most 1,000"):
        read_cap(written)


@pytest.mark.parametrize("written", ["1/0 hours", "1/32 days", "1/999999999 days"])
def test_a_window_that_is_none_or_too_long_is_told(written: str) -> None:
    with pytest.raises(ValueError, match="a second or more and at most 31 days"):
        read_cap(written)

"""What counts as a mainland mobile, and the reason why other texts do not."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.domain.mobile import MobileFault, NotAMobile, is_mobile, mask, normalise


@pytest.mark.parametrize(
    "written",
    [
        "13800138000",
        "+8613800138000",
        "008613800138000",
        "8613800138000",
        "86 138-0013-8000",
        "+86 138-0013-8000",
        "138 0013 8000",
        "138-0013-8000",
        "１３８００１３８０００",
        "＋８６１３８００１３８０００",
        "\t13800138000\n",
        "(+86) 13800138000".replace("(", "").replace(")", ""),
        "138\u00a00013\u20118000",
    ],
)
def test_a_mobile_in_any_usual_writing_is_its_eleven_digits(written: str) -> None:
    assert normalise(written) == "13800138000"
    assert is_mobile(written) == (written == "13800138000")


@pytest.mark.parametrize(
    ("written", "fault"),
    [
        ("", MobileFault.EMPTY),
        ("  ", MobileFault.EMPTY),
        ("+86", MobileFault.EMPTY),
        ("15661abc037", MobileFault.CHARACTERS),
        ("13800138000;", MobileFault.CHARACTERS),
        ("一三八〇〇一三八〇〇〇", MobileFault.CHARACTERS),
        ("0755-26900602", MobileFault.LANDLINE),
        ("010-62345678", MobileFault.LANDLINE),
        ("+85291234567", MobileFault.FOREIGN),
        ("0014155550100", MobileFault.FOREIGN),
        ("1507386945", MobileFault.TOO_SHORT),
        ("138001380001", MobileFault.TOO_LONG),
        ("8612384788403", MobileFault.PREFIX),
        ("86138001380001", MobileFault.TOO_LONG),
        ("12384788403", MobileFault.PREFIX),
        ("10086100861", MobileFault.PREFIX),
    ],
)
def test_what_is_no_mobile_is_told_by_kind(written: str, fault: MobileFault) -> None:
    with pytest.raises(NotAMobile) as refused:
        normalise(written)
    assert refused.value.fault is fault


def test_a_prefix_that_libraries_do_not_know_yet_is_a_mobile() -> None:
    assert normalise("14923981213") == "14923981213"


@given(st.text())
def test_any_text_is_a_mobile_or_a_fault(text: str) -> None:
    try:
        mobile = normalise(text)
    except NotAMobile:
        return
    assert len(mobile) == 11
    assert normalise(mobile) == mobile


def test_a_log_shows_a_mobile_without_its_middle() -> None:
    assert mask("13800138000") == "138****8000"
    assert mask("10086") == "****"

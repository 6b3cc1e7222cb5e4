"""Which carrier a prefix was given to."""

import pytest

from worker.domain.carrier import Carrier, carrier_of


@pytest.mark.parametrize(
    ("mobile", "carrier"),
    [
        ("13800138000", Carrier.MOBILE),
        ("18600000000", Carrier.UNICOM),
        ("14900000000", Carrier.TELECOM),
        ("19200000000", Carrier.BROADNET),
        ("17000000000", Carrier.VIRTUAL),
        ("16200000000", Carrier.VIRTUAL),
        ("17400000000", Carrier.OTHER),
        ("", Carrier.OTHER),
    ],
)
def test_a_mobile_is_of_the_carrier_that_its_prefix_was_given_to(mobile: str, carrier: Carrier) -> None:
    assert carrier_of(mobile) is carrier


def test_three_digits_are_enough() -> None:
    assert carrier_of("138") is Carrier.MOBILE

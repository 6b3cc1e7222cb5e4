"""Addresses of a Redis, and the error for a text that is none."""

import pytest

from worker.client import SmsClient
from worker.domain.address import is_redis_address


@pytest.mark.parametrize(
    "url",
    [
        "redis://redis:6379/0",
        "redis://redis",
        "redis://redis/",
        "rediss://sms:s3cret@redis:6379/15",
        "redis://:pa%2Fss%23%40@redis:6379/0",
        "redis://[::1]:6379/0",
        "rediss://redis:6379/0?ssl_ca_certs=/etc/ca.pem",
    ],
)
def test_an_address_is_taken(url: str) -> None:
    assert is_redis_address(url)
    SmsClient(url)


@pytest.mark.parametrize(
    "password", ["s3cret/x", "s3cret#x", "s3cret?x", "12345/s3cret", "12345#s3cret", "12345?s3cret", "a@s3cret"]
)
def test_no_part_of_a_password_with_a_bare_character_is_in_the_error(password: str) -> None:
    with pytest.raises(ValueError, match="%2F for /") as refused:
        SmsClient(f"redis://sms:{password}@redis:6379/0")
    assert "s3cret" not in repr(refused.value)
    assert "12345" not in repr(refused.value)
    assert refused.value.__context__ is None or refused.value.__suppress_context__

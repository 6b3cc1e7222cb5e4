"""How long a text is for the carrier, and what cannot be sent."""

import pytest

from worker.domain.text import MAX_UNITS, content_faults, segments, units


@pytest.mark.parametrize(
    ("length", "parts"), [(1, 1), (70, 1), (71, 2), (134, 2), (135, 3), (201, 3), (202, 4), (1000, 15)]
)
def test_a_text_of_70_is_one_segment_and_a_longer_one_goes_in_parts_of_67(length: int, parts: int) -> None:
    assert segments("字" * length) == parts


def test_the_signature_counts() -> None:
    assert segments("字" * 66, "【某商城】") == 2


def test_an_emoji_counts_as_two() -> None:
    assert units("好😀") == 3
    assert segments("😀" * 36) == 2


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        ("", "is empty"),
        (" \n", "is empty"),
        ("字" * (MAX_UNITS + 1), "has 1001 characters"),
        ("【某商城】您好", "signature"),
        ("您好【某商城】", "signature"),
        (" 【某商城】您好", "signature"),
        ("您好\x00", "U+0000 at position 2"),
        ("您好\ud800", "U+D800"),
    ],
)
def test_what_cannot_be_sent_is_told(content: str, fault: str) -> None:
    assert any(fault in told for told in content_faults(content))


@pytest.mark.parametrize("content", ["您的验证码是 123456", "见【公告】一文", "第一行\n第二行", "😀"])
def test_an_ordinary_text_has_no_faults(content: str) -> None:
    assert content_faults(content) == []

"""How long a text is for the carrier, what cannot be sent, and what may not arrive."""

import pytest

from worker.domain.text import MAX_UNITS, Risk, content_faults, segments, units, warnings


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
        ("\u200b【招商银行】您好", "signature"),
        ("(【招商银行】您好", "signature"),
        ("\u3164【招商银行】您好", "signature"),
        ("\uffa0_\u2066【招商\u200b银行】您好", "signature"),
        ("︻招商银行︼您好", "signature"),
        ("🎉【招商银行】您好", "signature"),
        ("您好【招商银行】\u200b\u2800", "signature"),
        ("您好︻招商银行︼", "signature"),
        ("您好【招商银行】\ufe0e\u180b\U000e0100", "signature"),
        ("您好\x00", "U+0000 at position 2"),
        ("您\u202e好", "U+202E (RIGHT-TO-LEFT OVERRIDE) at position 1"),
        (
            "您\u3164好\u200b\u200b",
            "U+3164 (HANGUL FILLER) at position 1, U+200B (ZERO WIDTH SPACE) at position 3, which",
        ),
        ("您\u200d好", "U+200D (ZERO WIDTH JOINER) at position 1"),
        ("您好\x85", "U+0085 at position 2"),
        ("\xad\u200b\u200c\u200e\u200f", "U+200C (ZERO WIDTH NON-JOINER) at position 2 and 2 more, which nobody sees"),
        ("您好\ud800", "U+D800"),
    ],
)
def test_what_cannot_be_sent_is_told(content: str, fault: str) -> None:
    assert any(fault in sentence for sentence in content_faults(content))


@pytest.mark.parametrize(
    "content",
    [
        "您的验证码是 123456",
        "见【公告】一文",
        "第一行\r\n\t第二行",
        "😀",
        "👩\u200d💻❤\ufe0f\u200d🔥",
        "详见【规则】。",
        "【未完",
        "完】",
    ],
)
def test_an_ordinary_text_has_no_faults(content: str) -> None:
    assert content_faults(content) == []


@pytest.mark.parametrize(
    ("content", "piece"),
    [
        ("详情请看https://shop.example.com/a?b=1，谢谢", "https://shop.example.com/a?b=1"),
        ("点 http://t.cn/A1b2 查看", "http://t.cn/A1b2"),
        ("登录www.shop.com。", "www.shop.com"),
        ("到 shop.cn 看看", "shop.cn"),
        ("领券dwz.cn/abc", "dwz.cn/abc"),
        ("ｓｈｏｐ．ｃｏｍ", "shop.com"),
    ],
)
def test_a_link_is_warned_of_and_named(content: str, piece: str) -> None:
    [warned] = warnings(content, marketing=False)
    assert (warned.risk, warned.text.split(" is a ")[0]) == (Risk.LINK, piece)


@pytest.mark.parametrize(
    ("content", "piece"),
    [
        ("请联系13800138000", "13800138000"),
        ("请联系+86 138 0013 8000", "+86 138 0013 8000"),
        ("１３８００１３８０００", "13800138000"),
        ("致电0755-26900602", "0755-26900602"),
        ("(010)62345678", "(010)62345678"),
        ("400-123-4567", "400-123-4567"),
        ("8001234567", "8001234567"),
        ("客服热线95588", "95588"),
        ("电话：12345", "12345"),
        ("咨询热线：88886666", "88886666"),
    ],
)
def test_a_phone_number_is_warned_of_and_named(content: str, piece: str) -> None:
    [warned] = warnings(content, marketing=False)
    assert (warned.risk, warned.text.split(" is a ")[0]) == (Risk.PHONE, piece)


@pytest.mark.parametrize(
    ("content", "risk"),
    [
        ("见【公告】一文", Risk.BRACKETS),
        ("好😀", Risk.WIDE),
        ("尊敬的{姓名}", Risk.PLACEHOLDER),
        ("尊敬的${name}", Risk.PLACEHOLDER),
        ("尊敬的｛姓名｝", Risk.PLACEHOLDER),
        ("尊敬的null您好", Risk.PLACEHOLDER),
        ("账单#N/A元", Risk.PLACEHOLDER),
    ],
)
def test_what_may_be_refused_or_was_not_meant_is_warned_of(content: str, risk: Risk) -> None:
    assert [warned.risk for warned in warnings(content, marketing=False)] == [risk]


@pytest.mark.parametrize(
    "content",
    [
        "您的验证码是 123456，5 分钟内有效",
        "订单 95588 已发货，运单 SF1234567890123",
        "账单941.83元，请于2026-12-16前缴纳，尾号8000",
        "金额1,234,567.89元，v2.0 版，a@b.com",
        "致电我们，优惠2000000元",
    ],
)
def test_an_ordinary_text_is_not_warned_of(content: str) -> None:
    assert warnings(content, marketing=False) == []


@pytest.mark.parametrize(
    "hint", ["回T退订", "拒收请回复R", "退订回TD", "回N", "回复 T", "回复“td”", "TD退订", "回ＴＤ"]
)
def test_marketing_that_says_how_to_opt_out_is_not_warned_of(hint: str) -> None:
    assert warnings(f"春装上市，{hint}", marketing=True) == []


@pytest.mark.parametrize("content", ["春装上市", "春装上市，回复Q", "请回复Tom"])
def test_marketing_without_an_optout_hint_is_warned_of(content: str) -> None:
    assert [warned.risk for warned in warnings(content, marketing=True)] == [Risk.NO_HINT]
    assert warnings(content, marketing=False) == []


def test_each_kind_is_told_once_with_a_few_of_its_pieces() -> None:
    [warned] = warnings(" ".join(f"a{number}.com" for number in range(9)), marketing=False)
    assert warned.text.startswith("a0.com, a1.com, a2.com … is a link")


def test_a_text_of_a_million_brackets_is_looked_at_once() -> None:
    assert len(content_faults("【" * 1_000_000)) == 1
    assert len(content_faults("】" * 1_000_000)) == 1

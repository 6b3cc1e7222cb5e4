"""Pushes that are not XML: which items are read, and which faults are named."""

import time
from contextlib import suppress

import pytest

from worker.domain.push import Reply
from worker.gateway.push import MAX_ITEMS, Unreadable, parse_push


def form(content: str, mobile: str = "13800000001") -> str:
    return (
        f"<pushSmsForm><eprId>1</eprId><mobile>{mobile}</mobile><msgId>7</msgId><content>{content}</content>"
        "<userId>sword123</userId></pushSmsForm>"
    )


def push(*forms: str, head: str = "") -> str:
    return f"{head}<returnForm><type>2</type><count>{len(forms)}</count><list>{''.join(forms)}</list></returnForm>"


def contents(body: str | bytes) -> list[str]:
    items = parse_push(body.encode() if isinstance(body, str) else body).items
    return [item.body.content for item in items if isinstance(item.body, Reply)]


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("好&#xD83D;&#xDE00;!", "好😀!"),
        ("&#55357;&#56832;", "😀"),
        ("&#xd83d;&#xde00;&#xD83D;&#xDC4D;", "😀👍"),
        ("A&B", "A&B"),
        ("A & B &amp; C", "A & B & C"),
        ("a&b=1&c;&nbsp;", "a&b=1&c;&nbsp;"),
        ("&", "&"),
        ("&#xZZ;", "&#xZZ;"),
        ("&#x1F600; & <![CDATA[a & b &#0;]]>", "😀 & a & b &#0;"),
    ],
)
def test_what_a_gateway_forgot_to_escape_is_read_as_it_was_meant_and_nothing_is_at_fault(
    written: str, read: str
) -> None:
    body = push(form("TD"), form(written + "&") if "&" not in written else form(written), form("T"))
    reading = parse_push(body.encode())
    assert contents(body) == ["TD", read, "T"]
    assert reading.faults == ()
    assert "it was put right" in str(reading.note)


@pytest.mark.parametrize(
    "written", ["a&#0;b", "a&#xD83D;b", "a&#xFFFF;b", "a&#x110000;b", "a&#999999999;b", "a\x00b", "a\x0bb"]
)
def test_a_character_that_cannot_be_read_is_marked_and_its_item_is_named(written: str) -> None:
    body = push(form("TD"), form(written), form("T"))
    assert contents(body) == ["TD", "a\N{REPLACEMENT CHARACTER}b", "T"]
    [fault] = parse_push(body.encode()).faults
    assert fault.startswith("item 2: characters of its content cannot be read")


def test_a_mobile_that_cannot_be_read_is_no_mobile_and_its_item_is_left_out_and_named() -> None:
    body = push(form("TD"), form("T", mobile="138&#0;0000001"))
    assert contents(body) == ["TD"]
    assert parse_push(body.encode()).faults == ("item 2: characters of it cannot be read",)


@pytest.mark.parametrize("broken", ["1<2", "<b>", "</content>", "</pushSmsForm>", "<list>", "]]>", "a<!-- b", "<?x"])
def test_an_item_that_is_no_xml_is_named_and_its_neighbours_are_read(broken: str) -> None:
    body = push(form("TD"), form(broken), form("T"))
    reading = parse_push(body.encode())
    read = contents(body)
    assert read[0] == "TD"
    assert read[-1] == "T" or broken in ("a<!-- b",)
    assert reading.faults[0].startswith("it is not XML")
    assert any(fault.startswith("item 2: ") for fault in reading.faults)


def test_of_a_push_that_breaks_off_what_came_is_read() -> None:
    whole = push(form("TD"), form("T"), form("N"))
    reading = parse_push(whole[: whole.index("N</content>")].encode())
    assert [item.body.content for item in reading.items if isinstance(item.body, Reply)] == ["TD", "T"]
    assert [fault.partition(":")[0] for fault in reading.faults] == ["it is not XML", "item 3"]


def test_one_bad_byte_of_utf_8_does_not_make_the_others_chinese_of_another_kind() -> None:
    body = push(form("退订"), form("好的好的好的好的好的好的X"), form("谢谢")).encode().replace(b"X", b"\xf0\x9f\x98")
    assert contents(body) == ["退订", "好的好的好的好的好的好的\N{REPLACEMENT CHARACTER}", "谢谢"]


def test_a_bare_ampersand_in_gbk_is_read_whether_gbk_is_declared_or_not() -> None:
    for head in ("", '<?xml version="1.0" encoding="GBK"?>'):
        assert contents(push(form("退订"), form("买&卖"), head=head).encode("gbk")) == ["退订", "买&卖"]


def test_nothing_that_a_person_wrote_into_cdata_becomes_an_item() -> None:
    forged = form("TD", mobile="13911111111")
    body = push(form(f"<![CDATA[</content></pushSmsForm>{forged}]]>"), form("1<2"))
    assert "13911111111" not in [item.body.mobile for item in parse_push(body.encode()).items]


@pytest.mark.parametrize("head", ['<!DOCTYPE r [<!ENTITY e "1">]>', '<!DOCTYPE r SYSTEM "file:///etc/passwd">'])
@pytest.mark.parametrize("broken", ["&", "1<2", "&e;&"])
def test_a_dtd_is_refused_in_the_second_reading_too(head: str, broken: str) -> None:
    with pytest.raises(Unreadable, match="DTD"):
        parse_push(push(form("TD"), form(broken), head=head).encode())


def test_too_many_items_are_refused_in_the_second_reading_too() -> None:
    with pytest.raises(Unreadable, match="more than"):
        parse_push(push(*["<pushSmsForm/>"] * (MAX_ITEMS + 1), form("1<2")).encode())


@pytest.mark.parametrize(
    "flood",
    [
        "<![CDATA[",
        "<!--",
        "]",
        "-",
        "&",
        "&#",
        "<pushSmsForm ",
        "<pushSmsForm>",
        "</pushSmsForm>",
        "<a",
        "&#xD83D;",
        "<type>",
    ],
)
def test_four_megabytes_of_anything_are_read_in_a_moment(flood: str) -> None:
    body = push(form(flood * (4 * 2**20 // len(flood))) + "<")
    begun = time.process_time()
    with suppress(Unreadable):
        parse_push(body.encode())
    assert time.process_time() - begun < 5

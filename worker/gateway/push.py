"""Reads a push (推送接口) and trusts nothing in it: anybody who knows the path can send one. A bad item spoils no other.

A push that is not XML is read a second time, after `gateway/push_repair.py` has repaired its text. If it is still not
XML, each item is read by itself. No parser recovers by itself, so no item is kept that was not there.
"""

from collections.abc import Iterable, Mapping
from itertools import chain, islice
from typing import TypeVar

from lxml import etree

from worker.domain.mobile import NotAMobile, normalise
from worker.domain.push import Item, Push, Reply, StatusReport
from worker.domain.status import Report
from worker.gateway.push_repair import UNREADABLE, decoded, first_element, head_of, item_texts, repaired

REPORTS = {"1": Report.DELIVERED, "-1": Report.UNDELIVERED}
"""The report for each `status` of a pushStatusForm: -1 失败, 1 成功."""

ITEM_TAGS = {"1": "pushStatusForm", "2": "pushSmsForm"}
"""The tag of the items for each `type` of a push: 1 推送状态, 2 推送回复."""

MAX_ITEMS = 40_000
"""No push holds more items: the shortest has 105 bytes, so the 4 MiB that the callback app takes hold 39,945."""

T = TypeVar("T")

_LONGEST_FIELD = 64
_LONGEST_CONTENT = 10_000
_MSG_ID_DIGITS = 18


class Unreadable(ValueError):
    """The body is not a push as the vendor's document describes it; the text says why."""


def parse_push(body: bytes) -> Push:
    """Reads the raw body of a push. Raises Unreadable, and no other error, whatever the bytes are."""
    try:
        return _whole(etree.fromstring(body, _parser()))
    except (etree.XMLSyntaxError, ValueError) as error:
        if isinstance(error, Unreadable):
            raise
        fault = f"it is not XML: {str(error)[:200]}"
    # Without a declared encoding XML is UTF-8; some gateways write GBK all the same.
    text = decoded(body)
    mended = repaired(text)
    try:
        root = etree.fromstring(mended.encode(), _parser("utf-8"))
    except (etree.XMLSyntaxError, ValueError):
        return _by_pieces(mended, fault)
    return _whole(root, mended=None if mended == text else fault)


def _whole(root: etree._Element, mended: str | None = None) -> Push:
    """The push of an XML document. `mended` is the fault that it had before its repair."""
    if root.getroottree().docinfo.internalDTD is not None:
        raise Unreadable("it has a DTD, which no push has")
    if root.tag != "returnForm":
        raise Unreadable(f"the root is <{str(root.tag)[:_LONGEST_FIELD]}>, not <returnForm>")
    head = _fields(root)
    kind = _kind(head)
    elements = _bounded(chain.from_iterable(root.iterfind("list")))
    items, faults = _items(elements, kind, mended=mended is not None)
    notes = (mended and f"{mended}; it was put right", _count_note(head, len(elements)))
    return Push(items, faults, "; ".join(filter(None, notes)) or None)


def _by_pieces(text: str, fault: str) -> Push:
    """The push of a text that is not XML: each item that is XML by itself. `fault` is the first of its faults."""
    if "<!DOCTYPE" in text:
        raise Unreadable("it has a DTD, which no push has")
    if first_element(text) != "returnForm":
        raise Unreadable(fault)
    head = head_of(text)
    kind = _kind(head)
    texts = _bounded(item_texts(text, ITEM_TAGS.values()))
    parser = _parser("utf-8")
    items, faults = _items((_element(text_of_item, parser) for text_of_item in texts), kind, mended=True)
    return Push(items, (fault, *faults), _count_note(head, len(texts)))


def _element(text: str, parser: etree.XMLParser) -> etree._Element | Unreadable:
    try:
        return etree.fromstring(text.encode(), parser)
    except (etree.XMLSyntaxError, ValueError) as error:
        return Unreadable(f"it is not XML: {str(error)[:_LONGEST_FIELD]}")


def _kind(head: Mapping[str, str]) -> str:
    kind = head.get("type", "").strip()
    if kind not in ITEM_TAGS:
        raise Unreadable(f"type is {kind[:_LONGEST_FIELD]!r}, neither 1 (推送状态) nor 2 (推送回复)")
    return kind


def _bounded(items: Iterable[T]) -> list[T]:
    bounded = list(islice(items, MAX_ITEMS + 1))
    if len(bounded) > MAX_ITEMS:
        raise Unreadable(f"it holds more than {MAX_ITEMS:,} items")
    return bounded


def _items(
    elements: Iterable[etree._Element | Unreadable], kind: str, *, mended: bool
) -> tuple[tuple[Item, ...], tuple[str, ...]]:
    """The items of these elements, and a sentence for each element that cannot be read, or not in full."""
    items, faults = [], []
    for number, element in enumerate(elements, 1):
        try:
            if isinstance(element, Unreadable):
                raise element
            item = _item(element, kind)
            if mended and UNREADABLE in "".join((item.epr_id, item.user_id, item.body.mobile, str(item.body.msg_id))):
                raise Unreadable("characters of it cannot be read")
        except Unreadable as error:
            faults.append(f"item {number}: {error}")
            continue
        items.append(item)
        if mended and isinstance(item.body, Reply) and UNREADABLE in item.body.content:
            faults.append(
                f"item {number}: characters of its content cannot be read; it is kept with {UNREADABLE} for each"
            )
    return tuple(items), tuple(faults)


def _count_note(head: Mapping[str, str], items: int) -> str | None:
    count = head.get("count", "").strip()
    return None if count == str(items) else f"count says {count[:_LONGEST_FIELD]!r}, the list holds {items}"


def _parser(encoding: str | None = None) -> etree.XMLParser:
    # Each body has its own parser, for threads must not share one.
    return etree.XMLParser(
        encoding=encoding,
        resolve_entities=False,
        no_network=True,
        load_dtd=False,
        huge_tree=False,
        remove_comments=True,
        remove_pis=True,
    )


def _item(element: etree._Element, kind: str) -> Item:
    if element.tag != ITEM_TAGS[kind]:
        raise Unreadable(f"it is a <{str(element.tag)[:_LONGEST_FIELD]}>, not a <{ITEM_TAGS[kind]}>")
    fields = _fields(element)
    epr_id, user_id = _required(fields, "eprId"), _required(fields, "userId")
    mobile, msg_id = _mobile(_required(fields, "mobile")), _required(fields, "msgId")
    if kind == "2":
        content = fields.get("content")
        if content is None:
            raise Unreadable("content is missing")
        if len(content) > _LONGEST_CONTENT:
            raise Unreadable(f"content is longer than {_LONGEST_CONTENT:,} characters")
        return Item(epr_id, user_id, Reply(mobile, msg_id, content))
    status = _required(fields, "status")
    if status not in REPORTS:
        raise Unreadable(f"status is {status!r}, neither 1 (成功) nor -1 (失败)")
    if not (msg_id.isascii() and msg_id.isdecimal() and len(msg_id) <= _MSG_ID_DIGITS):
        raise Unreadable(f"msgId {msg_id!r} is not a number, so it is not one of ours")
    return Item(epr_id, user_id, StatusReport(mobile, int(msg_id), REPORTS[status]))


def _fields(element: etree._Element) -> dict[str, str]:
    """The text of each child, the first of each name, in one pass: a lookup by name took most of a push's time."""
    fields: dict[str, str] = {}
    for child in element:
        fields.setdefault(child.tag, child.text or "")
    return fields


def _required(fields: Mapping[str, str], name: str) -> str:
    text = fields.get(name, "").strip()
    if not text:
        raise Unreadable(f"{name} is missing")
    if len(text) > _LONGEST_FIELD:
        raise Unreadable(f"{name} is longer than {_LONGEST_FIELD} characters")
    return text


def _mobile(text: str) -> str:
    try:
        return normalise(text)
    except NotAMobile:
        # We cannot have sent to it. It is kept as it came: a reply may come from a carrier's short number.
        return text[:32]

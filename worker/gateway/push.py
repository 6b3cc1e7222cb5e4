"""Reading a push (推送接口): XML from whoever knows the path, so read with suspicion. A bad item does not spoil the others."""

from collections.abc import Mapping
from itertools import chain, islice

from lxml import etree

from worker.domain.mobile import NotAMobile, normalise
from worker.domain.push import Item, Push, Reply, StatusReport
from worker.domain.status import Report

REPORTS = {"1": Report.DELIVERED, "-1": Report.UNDELIVERED}
"""`status` of a pushStatusForm: -1 失败, 1 成功."""

ITEM_TAGS = {"1": "pushStatusForm", "2": "pushSmsForm"}
"""`type` of a push, 1 推送状态 or 2 推送回复, and what its items are called."""

MAX_ITEMS = 40_000
"""No push holds more: of the shortest item, 105 bytes, the 4 MiB that the callback app takes have 39,945."""

_LONGEST_FIELD = 64
_LONGEST_CONTENT = 10_000
_MSG_ID_DIGITS = 18


class Unreadable(ValueError):
    """The body is no push of the document; the text says why."""


def parse_push(body: bytes) -> Push:
    """The push that the body holds. Raises Unreadable; nothing else, whatever the bytes are."""
    root = _root(body)
    if root.tag != "returnForm":
        raise Unreadable(f"the root is <{str(root.tag)[:_LONGEST_FIELD]}>, not <returnForm>")
    head = _fields(root)
    kind = head.get("type", "").strip()
    if kind not in ITEM_TAGS:
        raise Unreadable(f"type is {kind[:_LONGEST_FIELD]!r}, neither 1 (推送状态) nor 2 (推送回复)")
    elements = list(islice(chain.from_iterable(root.iterfind("list")), MAX_ITEMS + 1))
    if len(elements) > MAX_ITEMS:
        raise Unreadable(f"it holds more than {MAX_ITEMS:,} items")
    items, faults = [], []
    for number, element in enumerate(elements, 1):
        try:
            items.append(_item(element, kind))
        except Unreadable as why:
            faults.append(f"item {number}: {why}")
    count = head.get("count", "").strip()
    note = (
        None
        if count == str(len(elements))
        else f"count says {count[:_LONGEST_FIELD]!r}, the list holds {len(elements)}"
    )
    return Push(tuple(items), tuple(faults), note)


def _root(body: bytes) -> etree._Element:
    try:
        root = etree.fromstring(body, _parser())
    except (etree.XMLSyntaxError, ValueError) as why:
        # Without a declared encoding it is UTF-8; some gateways write GBK all the same.
        try:
            root = etree.fromstring(body.decode("gb18030").encode(), _parser())
        except (etree.XMLSyntaxError, ValueError):
            raise Unreadable(f"it is no XML: {str(why)[:200]}") from why
    if root.getroottree().docinfo.internalDTD is not None:
        raise Unreadable("it has a DTD, which no push has")
    return root


def _parser() -> etree.XMLParser:
    # One for each body: a parser is not to be shared by threads.
    return etree.XMLParser(
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
        raise Unreadable(f"msgId {msg_id!r} is no number, so it is none of ours")
    return Item(epr_id, user_id, StatusReport(mobile, int(msg_id), REPORTS[status]))


def _fields(element: etree._Element) -> dict[str, str]:
    """The text of each child, the first of each name. In one go: to look each name up takes most of the time of a push."""
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
        # Not one that we could have sent to; kept as it came. A reply may come from a carrier's short number.
        return text[:32]

"""The XML of a push, in the shape of the document's samples (2. 推送接口)."""

import re
from dataclasses import dataclass
from html import escape

# XML 1.0 carries no other control characters, no half surrogates and no noncharacters FFFE and FFFF.
_NOT_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


@dataclass(frozen=True, slots=True)
class Report:
    """type 1: the result of a message at one mobile; status 1 成功, -1 失败.

    `reply` is the text that the mobile will answer.
    """

    epr_id: str
    user_id: str
    mobile: str
    msg_id: str
    status: str
    reply: str | None = None


@dataclass(frozen=True, slots=True)
class Reply:
    """type 2: a text from a mobile."""

    epr_id: str
    user_id: str
    mobile: str
    msg_id: str
    content: str


Batch = tuple[Report, ...] | tuple[Reply, ...]


def push_body(batch: Batch, *, count: int | None = None) -> bytes:
    """The body of one push. `count` replaces the number of its items where the push is to lie."""
    push_type = 1 if isinstance(batch[0], Report) else 2
    items = "".join(_report(item) if isinstance(item, Report) else _reply(item) for item in batch)
    count = len(batch) if count is None else count
    return f"<returnForm><type>{push_type}</type><count>{count}</count><list>{items}</list></returnForm>".encode()


def _report(item: Report) -> str:
    return (
        f"<pushStatusForm><eprId>{_text(item.epr_id)}</eprId><mobile>{_text(item.mobile)}</mobile>"
        f"<msgId>{_text(item.msg_id)}</msgId><status>{item.status}</status>"
        f"<userId>{_text(item.user_id)}</userId></pushStatusForm>"
    )


def _reply(item: Reply) -> str:
    return (
        f"<pushSmsForm><eprId>{_text(item.epr_id)}</eprId><mobile>{_text(item.mobile)}</mobile>"
        f"<msgId>{_text(item.msg_id)}</msgId><content>{_text(item.content)}</content>"
        f"<userId>{_text(item.user_id)}</userId></pushSmsForm>"
    )


def _text(text: str) -> str:
    # A bare carriage return would come out of any XML parser as a line feed.
    return escape(_NOT_XML.sub("\ufffd", text), quote=False).replace("\r", "&#13;")

"""The answer to a call under a fault: status, headers and body. Nothing is sent here."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from simulator.behaviour import Fault
from simulator.codes import result_body

# In production the JSON reply comes as text/html.
JSON_CONTENT_TYPE = "text/html;charset=UTF-8"
XML_CONTENT_TYPE = "text/xml;charset=UTF-8"
# Not UTF-8 or GBK, and not JSON or XML.
GARBAGE = b"\xff\xfe\x00\x81{<\xf8\x00\xff\x80\xff"
ERROR_PAGE = (
    "<html><head><title>{status}</title></head><body><h1>{status}</h1><p>系统繁忙，请稍后再试</p></body></html>"
)


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    body: bytes
    content_type: str
    headers: Mapping[str, str] = field(default_factory=dict)


def answer_to(fault: Fault, *, xml: bool) -> Answer:
    """The answer under this fault. `ok` and the faults of the connection have the answer of the document."""
    text = result_body(fault.result, fault.tips_sent(xml=xml), xml=xml)
    answer = Answer(200, text.encode(), XML_CONTENT_TYPE if xml else JSON_CONTENT_TYPE)
    match fault.do:
        case "http" | "html":
            return _error_page(fault.status or (500 if fault.do == "http" else 200), fault.retry_after)
        case "garbage":
            return replace(answer, body=GARBAGE)
        case "empty":
            return replace(answer, body=b"")
        case "gbk":
            return replace(answer, body=text.encode("gbk", "replace"))
        case "wrong_content_type":
            return replace(answer, content_type=fault.content_type or "application/octet-stream")
        case _:
            return answer


def _error_page(status: int, retry_after: str | int | None) -> Answer:
    headers = {} if retry_after is None else {"Retry-After": str(retry_after)}
    return Answer(status, ERROR_PAGE.format(status=status).encode(), "text/html;charset=UTF-8", headers)

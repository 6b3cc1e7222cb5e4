"""What a reply of the gateway means: status, headers and body become an Outcome. Pure, and it raises for nothing that can come."""

import json
import re
from collections.abc import Collection, Mapping
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from html import unescape
from http import HTTPStatus
from typing import Any

from lxml import etree

from worker.domain.outcome import NOT_TAKEN, Outcome, Verdict, plausible_skew
from worker.gateway.codes import BY_NUMBER

MAX_BODY_BYTES = 64 * 1024
"""A reply is about a hundred bytes; more than this is none, and is not read on."""
MAX_TIPS = 500
MAX_RETRY_AFTER = timedelta(hours=1)

_INTEGER = re.compile(r"-?[0-9]{1,9}")
_SECONDS = re.compile(r"[0-9]{1,9}")
# The encoding is given because the body was decoded by then, whatever its declaration says.
_PARSER = etree.XMLParser(
    encoding="utf-8", resolve_entities=False, no_network=True, load_dtd=False, huge_tree=False, remove_comments=True
)


_PAGE = re.compile(r"\s*<(!doctype )?html\b", re.IGNORECASE)
_MARKUP = re.compile(r"<(style|script)\b.*?</\1>|<[^<>]*>", re.IGNORECASE | re.DOTALL)


class _Unreadable(ValueError):
    """The body is no reply of the document."""


def read(
    status: int,
    headers: Mapping[str, str],
    body: bytes,
    *,
    now: datetime,
    hide: Mapping[str, str],
    not_taken: Collection[int] = NOT_TAKEN,
) -> Outcome:
    """What is known after a reply: the table of docs/architecture.md.

    `headers` finds names in any case; `now` (aware) is when the reply came; `hide` maps what no tips may show, should the
    body repeat it, to what stands there instead. `not_taken`: the statuses of 400 and more that say that it did not take the call.
    """
    skew = _skew(headers, now)
    text = _decode(body)

    def outcome(verdict: Verdict, tips: str, *, result: str | None = None, wait: timedelta | None = None) -> Outcome:
        return Outcome(verdict, result, _presentable(tips, hide), wait, skew)

    if HTTPStatus.OK <= status < HTTPStatus.MULTIPLE_CHOICES:
        try:
            if len(body) > MAX_BODY_BYTES:
                raise _Unreadable("too long")
            number, tips = _fields(text)
        except _Unreadable as why:
            return outcome(Verdict.UNKNOWN, f"HTTP {status}, and the body cannot be read ({why}): {_words(text)}")
        code = BY_NUMBER.get(number)
        if code is None:
            return outcome(Verdict.REJECTED, text, result=str(number))
        return outcome(code.verdict, tips or code.text, result=str(number))
    said = f"HTTP {status}: {_words(text)}"
    if status in not_taken:
        return outcome(Verdict.BUSY, said, wait=_retry_after(headers, now + (skew or timedelta())))
    if HTTPStatus.BAD_REQUEST <= status < HTTPStatus.INTERNAL_SERVER_ERROR:
        return outcome(Verdict.REJECTED, said)
    # A redirect is not followed, for that could be a second call, and is no refusal either: 302 and 303 are how a server
    # answers a form that it took.
    return outcome(Verdict.UNKNOWN, said)


def _decode(body: bytes) -> str:
    try:
        return body.decode("utf-8-sig")
    except UnicodeDecodeError:
        return body.decode("gb18030", "replace")


def _fields(text: str) -> tuple[int, str | None]:
    """`result` and `tips`, by what the body looks like: whatever was asked for, and whatever the Content-Type says."""
    text = text.strip()
    result, tips = _from_xml(text) if text.startswith("<") else _from_json(text)
    if isinstance(result, float) and result.is_integer():
        result = int(result)
    written = str(result).strip()
    if isinstance(result, bool) or not _INTEGER.fullmatch(written):
        raise _Unreadable("no result code")
    return int(written), tips.strip() if isinstance(tips, str) else None


def _from_json(text: str) -> tuple[Any, Any]:
    try:
        reply = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise _Unreadable("no JSON, no XML") from error
    if not isinstance(reply, dict):
        raise _Unreadable("no JSON object")
    return reply.get("result"), reply.get("tips")


def _from_xml(text: str) -> tuple[Any, Any]:
    try:
        root = etree.fromstring(text.encode(), _PARSER)
    except (etree.XMLSyntaxError, ValueError) as error:
        raise _Unreadable("broken XML") from error
    if root.getroottree().docinfo.internalDTD is not None:
        # An entity that it declares would stand in the middle of a code.
        raise _Unreadable("XML with a document type")
    return root.findtext("{*}result"), root.findtext("{*}tips")


def _words(text: str) -> str:
    """What a page says to people; anything else as it is. Of a proxy's page the markup would leave no room for what it says."""
    if not _PAGE.match(text):
        return text
    # Its beginning, for a hostile page could be one that takes long to look through.
    return " ".join(unescape(_MARKUP.sub(" ", text[: 20 * MAX_TIPS])).split()) or text


def _presentable(text: str, hide: Mapping[str, str]) -> str:
    """What a ledger can keep and a log may show: one line of printable characters, without what is to be hidden."""
    for secret, shown in hide.items():
        text = text.replace(secret, shown)
    text = text[:MAX_TIPS]
    return text if text.isprintable() else "".join(char if char.isprintable() else " " for char in text)


def _http_date(text: str | None) -> datetime | None:
    try:
        moment = parsedate_to_datetime(text or "")
    except (ValueError, OverflowError):
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _skew(headers: Mapping[str, str], now: datetime) -> timedelta | None:
    """How far the gateway's clock is ahead of ours, to the second that a Date tells."""
    date = _http_date(headers.get("Date"))
    return plausible_skew(date - now) if date else None


def _retry_after(headers: Mapping[str, str], gateway_now: datetime) -> timedelta | None:
    """How long the gateway asks us to wait, at most an hour (RFC 9110, 10.2.3); None for what cannot be meant."""
    text = headers.get("Retry-After", "").strip()
    if _SECONDS.fullmatch(text):
        return min(timedelta(seconds=int(text)), MAX_RETRY_AFTER)
    until = _http_date(text)
    if until is None or until < gateway_now:
        return None
    return min(until - gateway_now, MAX_RETRY_AFTER)

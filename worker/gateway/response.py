"""Reads a response of the gateway: status, headers and body become an Outcome.

It is pure, and no response makes it raise.
"""

import json
import re
from collections.abc import Collection, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from html import unescape
from http import HTTPStatus
from typing import Any

from lxml import etree

from worker.domain.outcome import NOT_TAKEN_STATUSES, Outcome, Verdict, plausible_skew
from worker.gateway.codes import BY_NUMBER

MAX_BODY_BYTES = 64 * 1024
"""A response has about a hundred bytes. A longer body than this is not a response, and is not read to its end."""
MAX_TIPS = 500
MAX_RETRY_AFTER = timedelta(hours=1)

_INTEGER = re.compile(r"-?[0-9]{1,9}")
_SECONDS = re.compile(r"[0-9]{1,9}")
# The encoding overrides the declaration in the body, for the body is decoded before.
_PARSER = etree.XMLParser(
    encoding="utf-8", resolve_entities=False, no_network=True, load_dtd=False, huge_tree=False, remove_comments=True
)
_PAGE = re.compile(r"\s*<(!doctype )?html\b", re.IGNORECASE)
_MARKUP = re.compile(r"<(style|script)\b.*?</\1>|<[^<>]*>", re.IGNORECASE | re.DOTALL)


class _Unreadable(ValueError):
    """The body is not a response as the vendor's document describes it."""


def read_response(
    status: int,
    headers: Mapping[str, str],
    body: bytes,
    *,
    now: datetime,
    hide: Mapping[str, str],
    not_taken: Collection[int] = NOT_TAKEN_STATUSES,
) -> Outcome:
    """Returns what is known after a response, by the table of docs/architecture.md.

    `headers` finds names in any case. `now` (aware) is when the response came. `hide` maps each secret that the body
    may repeat to the text that the tips show instead. `not_taken` has the statuses, from 400 on, that say that the
    gateway did not take the call.
    """
    skew = _skew(headers, now)
    text = _decode(body)
    if HTTPStatus.OK <= status < HTTPStatus.MULTIPLE_CHOICES:
        outcome = _outcome_of_body(status, text, is_too_long=len(body) > MAX_BODY_BYTES)
    else:
        outcome = _outcome_of_status(status, text, not_taken)
    if outcome.verdict is Verdict.BUSY:
        outcome = replace(outcome, retry_after=_retry_after(headers, now + (skew or timedelta())))
    return replace(outcome, tips=_presentable(outcome.tips or "", hide), skew=skew)


def _outcome_of_body(status: int, text: str, *, is_too_long: bool) -> Outcome:
    """The outcome of a response with a status of 200 to 299: its body decides."""
    try:
        if is_too_long:
            raise _Unreadable("too long")
        number, tips = _fields(text)
    except _Unreadable as error:
        return Outcome(Verdict.UNKNOWN, tips=f"HTTP {status}, and the body cannot be read ({error}): {_words(text)}")
    code = BY_NUMBER.get(number)
    if code is None:
        return Outcome(Verdict.REJECTED, str(number), text)
    return Outcome(code.verdict, str(number), tips or code.text)


def _outcome_of_status(status: int, text: str, not_taken: Collection[int]) -> Outcome:
    """The outcome of a response with any other status: the status decides."""
    tips = f"HTTP {status}: {_words(text)}"
    if status in not_taken:
        return Outcome(Verdict.BUSY, tips=tips)
    if HTTPStatus.BAD_REQUEST <= status < HTTPStatus.INTERNAL_SERVER_ERROR:
        return Outcome(Verdict.REJECTED, tips=tips)
    # A redirect is not followed, for that could be a second call. It is not a refusal either: with 302 and 303 a server
    # answers a form that it took.
    return Outcome(Verdict.UNKNOWN, tips=tips)


def _decode(body: bytes) -> str:
    try:
        return body.decode("utf-8-sig")
    except UnicodeDecodeError:
        return body.decode("gb18030", "replace")


def _fields(text: str) -> tuple[int, str | None]:
    """`result` and `tips`. The look of the body decides its format, whatever the call and the Content-Type say."""
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
        response = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise _Unreadable("neither JSON nor XML") from error
    if not isinstance(response, dict):
        raise _Unreadable("not a JSON object")
    return response.get("result"), response.get("tips")


def _from_xml(text: str) -> tuple[Any, Any]:
    try:
        root = etree.fromstring(text.encode(), _PARSER)
    except (etree.XMLSyntaxError, ValueError) as error:
        raise _Unreadable("broken XML") from error
    if root.getroottree().docinfo.internalDTD is not None:
        # An entity that the DTD declares could stand in the middle of a code.
        raise _Unreadable("XML with a document type")
    return root.findtext("{*}result"), root.findtext("{*}tips")


def _words(text: str) -> str:
    """The text of an HTML page; any other text as it is. The markup of a proxy's page would take up its room."""
    if not _PAGE.match(text):
        return text
    # Only its beginning, for a hostile page could take long to search.
    return " ".join(unescape(_MARKUP.sub(" ", text[: 20 * MAX_TIPS])).split()) or text


def _presentable(text: str, hide: Mapping[str, str]) -> str:
    """A text that the ledger can keep and a log may show: one line of printable characters, without the secrets."""
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
    """How far the gateway's clock is ahead of ours, to the second, by the header Date; None where it is implausible."""
    date = _http_date(headers.get("Date"))
    return plausible_skew(date - now) if date else None


def _retry_after(headers: Mapping[str, str], gateway_now: datetime) -> timedelta | None:
    """How long the gateway asks us to wait, at most an hour (RFC 9110, 10.2.3); None where it does not say."""
    text = headers.get("Retry-After", "").strip()
    if _SECONDS.fullmatch(text):
        return min(timedelta(seconds=int(text)), MAX_RETRY_AFTER)
    until = _http_date(text)
    if until is None or until < gateway_now:
        return None
    return min(until - gateway_now, MAX_RETRY_AFTER)

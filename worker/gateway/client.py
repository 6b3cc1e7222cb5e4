"""One call to the gateway, and what is known after it. Only what certainly did not leave is tried again."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Literal
from urllib.parse import quote, urlencode, urlsplit

import requests
from requests import Session
from tenacity import Retrying, retry_if_result, stop_after_attempt, stop_before_delay, wait_random

from worker.config import Settings
from worker.domain.mobile import mask
from worker.domain.outcome import NOT_TAKEN, Outcome, Verdict
from worker.gateway import reply
from worker.gateway.request import Call, Credentials, ReplyFormat, parameters
from worker.gateway.transport import BROKEN, NotConnected, connect, kind, open_session, proxies_for

__all__ = ["Call", "Credentials", "Endpoint", "Line", "Session", "endpoint", "open_session", "send", "why_unreachable"]

TRIES = 3
TRIES_WITHIN_SECONDS = 2.0
UNPREPARED = (ArithmeticError, LookupError, TypeError, ValueError)
"""What making a request of values that will not do may raise; their texts may have what no log shows."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where and how an account is called. ValueError if `url` is no http(s) address."""

    url: str
    method: Literal["post", "get"]
    reply_format: ReplyFormat
    connect_timeout_seconds: float
    """For each of TCP, the TLS handshake and writing the request; looking up the name is the resolver's to bound."""
    read_timeout_seconds: float
    """From the written request to the last byte of the reply."""
    not_taken: frozenset[int] = NOT_TAKEN
    """The HTTP statuses that say that a call was not taken."""

    def __post_init__(self) -> None:
        parts = urlsplit(self.url)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.fragment:
            raise ValueError("the gateway's url must start with http:// or https://, name a host and have no fragment")
        _template(self)  # requests finds what else is wrong with it

    @property
    def longest(self) -> timedelta:
        """How long `send` may take at one address of the host: what a lease must outlast."""
        return timedelta(seconds=TRIES_WITHIN_SECONDS + 3 * self.connect_timeout_seconds + self.read_timeout_seconds)


def endpoint(settings: Settings) -> Endpoint:
    """Where the gateway is and how it is called, by the settings."""
    return Endpoint(
        url=settings.gateway_url,
        method=settings.gateway_method,
        reply_format=settings.gateway_format,
        connect_timeout_seconds=settings.connect_timeout,
        read_timeout_seconds=settings.read_timeout,
    )


@dataclass(frozen=True, slots=True)
class Line:
    """What an account's calls go through: the session of the process, where, and as whom."""

    session: Session
    endpoint: Endpoint
    credentials: Credentials


def send(
    line: Line,
    call: Call,
    *,
    clock: Callable[[], datetime],
    skew: timedelta,
    sleep: Callable[[float], None] = time.sleep,
) -> Outcome:
    """Makes the call and says what is known after it; raises for nothing that the wire can do.

    `clock` gives aware times; `skew` is how far the gateway's clock is ahead of it, as far as known. What was not sent is
    tried three times in all, as long as a try begins within two seconds. Nothing else is tried again.
    """
    return _RETRYING.copy(sleep=sleep)(_attempt, line, call, clock, skew)


def why_unreachable(session: Session, endpoint: Endpoint) -> str | None:
    """Why no connection to the gateway comes about; None where one does. Nothing is said to it."""
    try:
        connect(session, endpoint.url, endpoint.connect_timeout_seconds)
    except NotConnected as error:
        return f"no connection: {error}"
    return None


_RETRYING = Retrying(
    retry=retry_if_result(lambda outcome: outcome.verdict is Verdict.NOT_SENT),
    stop=stop_after_attempt(TRIES) | stop_before_delay(TRIES_WITHIN_SECONDS),
    wait=wait_random(0.2, 0.9),
    retry_error_callback=lambda state: state.outcome.result() if state.outcome else None,
)


def _attempt(line: Line, call: Call, clock: Callable[[], datetime], skew: timedelta) -> Outcome:
    endpoint = line.endpoint
    try:
        values = parameters(line.credentials, call, endpoint.reply_format, clock() + skew)
        request = _prepare(endpoint, urlencode(values, quote_via=quote))
        # The adapter is asked itself, for Session.send keeps cookies and reads a redirect's body whole to see where it leads.
        adapter = line.session.get_adapter(endpoint.url)
    except UNPREPARED as error:
        # Not NOT_SENT, which says that no connection came about.
        return Outcome(Verdict.BUSY, tips=f"the request could not be made, and nothing was sent: {kind(error)}")
    timeout = (endpoint.connect_timeout_seconds, endpoint.read_timeout_seconds)
    try:
        response = adapter.send(request, stream=True, timeout=timeout, proxies=proxies_for(endpoint.url))
    except NotConnected as error:
        return Outcome(Verdict.NOT_SENT, tips=f"no connection: {error}")
    except BROKEN as error:
        return Outcome(Verdict.UNKNOWN, tips=f"no reply came, and the call may have been taken: {kind(error)}")
    # Some servers repeat the request in their error pages.
    hide = {values["key"]: "***", call.content: "***", quote(call.content, safe=""): "***"}
    hide |= {mobile: mask(mobile) for mobile in call.mobiles}
    with response:
        return _read(response, clock(), hide, endpoint.not_taken)


def _prepare(endpoint: Endpoint, encoded: str) -> requests.PreparedRequest:
    request = _template(endpoint).copy()
    if endpoint.method == "get":
        request.url = f"{request.url}{'&' if '?' in endpoint.url else '?'}{encoded}"
    else:
        request.body = encoded.encode("ascii")
        request.headers["Content-Length"] = str(len(request.body))
    return request


@lru_cache
def _template(endpoint: Endpoint) -> requests.PreparedRequest:
    """All of a request that is the same for every call: preparing it anew is a good part of what requests costs."""
    headers = {"Accept": "*/*", "Accept-Encoding": "identity", "User-Agent": "sms-worker"}
    if endpoint.method == "post":
        headers["Content-Type"] = "application/x-www-form-urlencoded; charset=UTF-8"
    return requests.Request(endpoint.method.upper(), endpoint.url, headers=headers).prepare()


def _read(response: requests.Response, now: datetime, hide: Mapping[str, str], not_taken: frozenset[int]) -> Outcome:
    def outcome(body: bytes) -> Outcome:
        return reply.read(response.status_code, response.headers, body, now=now, hide=hide, not_taken=not_taken)

    try:
        return outcome(response.raw.read(reply.MAX_BODY_BYTES + 1, decode_content=True))
    except BROKEN as error:
        return replace(outcome(b""), tips=f"HTTP {response.status_code}, and the reply broke off: {kind(error)}")

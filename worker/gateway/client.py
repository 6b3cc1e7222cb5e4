"""Makes one call to the gateway, and says what is known after it. It retries only a call that surely did not leave."""

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
from worker.domain.outcome import NOT_TAKEN_STATUSES, Outcome, Verdict
from worker.gateway.request import Call, Credentials, ResponseFormat, parameters
from worker.gateway.response import MAX_BODY_BYTES, read_response
from worker.gateway.transport import BROKEN, NotConnected, connect, kind, open_session, proxies_for

__all__ = ["Call", "Credentials", "Endpoint", "Line", "Session", "endpoint", "open_session", "send", "why_unreachable"]

TRIES = 3
TRIES_WITHIN_SECONDS = 2.0
UNPREPARED = (ArithmeticError, LookupError, TypeError, ValueError)
"""The errors of making a request from unusable values. Their texts may hold secrets, so no log shows them."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """The address of the gateway, and how an account calls it. Raises ValueError if `url` is not an http(s) address."""

    url: str
    method: Literal["post", "get"]
    response_format: ResponseFormat
    connect_timeout_seconds: float
    """For each of TCP, the TLS handshake and writing the request. Only the resolver limits the lookup of the name."""
    read_timeout_seconds: float
    """From the written request to the last byte of the response."""
    not_taken: frozenset[int] = NOT_TAKEN_STATUSES
    """The HTTP statuses that say that the gateway did not take the call."""

    def __post_init__(self) -> None:
        parts = urlsplit(self.url)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.fragment:
            raise ValueError("the gateway's url must start with http:// or https://, name a host and have no fragment")
        _template(self)  # requests finds the other faults of an address

    @property
    def longest(self) -> timedelta:
        """The longest that `send` may take with one address of the host. A lease must outlast it."""
        return timedelta(seconds=TRIES_WITHIN_SECONDS + 3 * self.connect_timeout_seconds + self.read_timeout_seconds)


def endpoint(settings: Settings) -> Endpoint:
    """The endpoint that the settings name."""
    return Endpoint(
        url=settings.gateway_url,
        method=settings.gateway_method,
        response_format=settings.gateway_format,
        connect_timeout_seconds=settings.connect_timeout,
        read_timeout_seconds=settings.read_timeout,
    )


@dataclass(frozen=True, slots=True)
class Line:
    """The means of an account's calls: the session of the process, the endpoint and the credentials."""

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
    """Makes the call and returns what is known after it. No fault of the network or the gateway raises an error.

    `clock` returns aware times. `skew` is how far the gateway's clock is ahead of it, as far as known. A call that was
    not sent is tried three times in all, as long as each try begins within two seconds. No other call is tried again.
    """
    return _RETRYING.copy(sleep=sleep)(_try_once, line, call, clock, skew)


def why_unreachable(session: Session, endpoint: Endpoint) -> str | None:
    """Why the gateway cannot be connected to; None if it can. It sends no request."""
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


def _try_once(line: Line, call: Call, clock: Callable[[], datetime], skew: timedelta) -> Outcome:
    endpoint = line.endpoint
    try:
        values = parameters(line.credentials, call, endpoint.response_format, clock() + skew)
        request = _prepare(endpoint, urlencode(values, quote_via=quote))
        # The adapter sends: Session.send keeps cookies, and reads the whole body of a redirect to see where it leads.
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
        return Outcome(Verdict.UNKNOWN, tips=f"no response came, and the call may have been taken: {kind(error)}")
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
    """The part of a request that is the same for every call. Preparing it is a good part of the cost of requests."""
    headers = {"Accept": "*/*", "Accept-Encoding": "identity", "User-Agent": "sms-worker"}
    if endpoint.method == "post":
        headers["Content-Type"] = "application/x-www-form-urlencoded; charset=UTF-8"
    return requests.Request(endpoint.method.upper(), endpoint.url, headers=headers).prepare()


def _read(response: requests.Response, now: datetime, hide: Mapping[str, str], not_taken: frozenset[int]) -> Outcome:
    def outcome(body: bytes) -> Outcome:
        return read_response(response.status_code, response.headers, body, now=now, hide=hide, not_taken=not_taken)

    try:
        return outcome(response.raw.read(MAX_BODY_BYTES + 1, decode_content=True))
    except BROKEN as error:
        return replace(outcome(b""), tips=f"HTTP {response.status_code}, and the response broke off: {kind(error)}")

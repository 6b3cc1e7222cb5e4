"""Calls over real sockets that really time out, reset and close: each row of the outcome table, and what the server saw."""

import logging
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from urllib.parse import quote

import pytest
import requests
from gateway_server import (
    CALL,
    CREDENTIALS,
    NOW,
    READ_TIMEOUT,
    UNREACHED,
    WRITTEN,
    Pauses,
    Server,
    call,
    endpoint,
    http,
    parameters,
    serving,
)

from worker.domain.outcome import Verdict
from worker.gateway.client import Endpoint, Line, send, why_unreachable


@pytest.mark.parametrize("method", ["post", "get"])
@pytest.mark.parametrize("label", WRITTEN)
def test_what_the_server_has_read_is_called_once_and_never_again(
    session: requests.Session, label: str, method: str
) -> None:
    answer, verdict = WRITTEN[label]
    pauses = Pauses()
    with serving(answer) as server:
        started = time.monotonic()
        outcome = call(session, endpoint(server.url, method), pauses)
        took = time.monotonic() - started

    assert (outcome.verdict, len(server.requests), pauses) == (verdict, 1, []), outcome
    assert outcome.tips
    assert took < 5 * READ_TIMEOUT


def test_a_body_that_breaks_off_leaves_what_the_status_said(session: requests.Session) -> None:
    with serving(http(b"x", "429 Slow down", "Retry-After: 9")[:-1]) as server:
        outcome = call(session, endpoint(server.url))

    assert (outcome.verdict, outcome.retry_after) == (Verdict.BUSY, timedelta(seconds=9))


@pytest.mark.parametrize("place", UNREACHED, ids=lambda place: place.__name__)
def test_what_did_not_leave_is_tried_three_times_within_two_seconds(
    session: requests.Session, place: Callable[[], Iterator[str]]
) -> None:
    pauses = Pauses()
    with contextmanager(place)() as url:
        outcome = call(session, endpoint(url), pauses)
        why = why_unreachable(session, endpoint(url))

    assert outcome.verdict is Verdict.NOT_SENT
    assert outcome.tips
    assert why
    assert why.startswith("no connection: ")
    assert len(pauses) == 2
    assert 0 < sum(pauses) < 2


def test_that_a_gateway_can_be_reached_is_found_without_a_word(session: requests.Session) -> None:
    with serving(http()) as server:
        assert why_unreachable(session, endpoint(server.url)) is None
        assert server.requests in ([], [b""])


def test_a_call_that_leaves_at_the_second_try_is_signed_anew_and_taken(session: requests.Session) -> None:
    moments = iter([NOW, NOW + timedelta(seconds=1), NOW + timedelta(seconds=2)])
    with serving(http()) as server:
        later = socket.socket()  # the port is bound, and listens only after the first try
        later.bind(("127.0.0.1", 0))
        at = endpoint(f"http://127.0.0.1:{later.getsockname()[1]}/")

        def start(_: float) -> None:
            later.listen()
            threading.Thread(target=lambda: server._serve(later.accept()[0]), daemon=True).start()

        outcome = send(
            Line(session, at, CREDENTIALS), CALL, clock=lambda: next(moments), skew=timedelta(minutes=5), sleep=start
        )
        later.close()

    (said,) = (parameters(request) for request in server.requests)
    assert outcome.verdict is Verdict.ACCEPTED
    signed_at = NOW + timedelta(seconds=1, minutes=5)
    assert said["timestamp"] == [str(int(signed_at.timestamp() * 1000))]


@pytest.mark.parametrize("skew", [timedelta.max, timedelta(days=-5_000_000)])
def test_a_request_that_cannot_be_made_was_not_sent_and_its_message_waits(
    session: requests.Session, skew: timedelta
) -> None:
    with serving(http()) as server:
        outcome = send(Line(session, endpoint(server.url), CREDENTIALS), CALL, clock=lambda: NOW, skew=skew)
        assert server.requests == []
    assert outcome.verdict is Verdict.BUSY
    assert outcome.tips == "the request could not be made, and nothing was sent: OverflowError"


@pytest.mark.parametrize("method", ["post", "get"])
@pytest.mark.parametrize("query", ["", "?tenant=1"])
def test_the_call_arrives_as_the_document_has_it(session: requests.Session, method: str, query: str) -> None:
    with serving(http()) as server:
        call(session, endpoint(server.url + query, method))

    head = server.requests[0].partition(b"\r\n\r\n")[0].decode()
    said = {name: values for name, (values,) in parameters(server.requests[0]).items()}
    said.pop("tenant", None)
    assert list(said) == ["cmd", "eprId", "userId", "timestamp", "key", "msgId", "format", "mobile", "content"]
    assert said["content"] == CALL.content
    assert said["mobile"] == ",".join(CALL.mobiles)
    assert head.startswith(f"{method.upper()} /api/webservice")
    assert ("Content-Type: application/x-www-form-urlencoded; charset=UTF-8" in head) is (method == "post")


def echo_of(server: Server) -> bytes:
    return b"you asked: " + server.requests[-1]


@pytest.mark.parametrize("method", ["post", "get"])
@pytest.mark.parametrize("label", [*WRITTEN, "echo 200", "echo 404", "a header that is none"])
def test_no_secret_shows_in_an_outcome_or_a_log_record(
    session: requests.Session, caplog: pytest.LogCaptureFixture, label: str, method: str
) -> None:
    caplog.set_level(logging.DEBUG)
    for name in ("urllib3", "urllib3.connectionpool", "requests"):
        caplog.set_level(logging.DEBUG, name)
    answer = WRITTEN.get(label, (http(), None))[0]
    if label.startswith("echo"):
        answer = lambda connection: connection.sendall(http(echo_of(server), f"{label[5:]} Echo"))  # noqa: E731
    elif label == "a header that is none":
        answer = b"HTTP/1.1 200 OK\r\nno header\r\nX: y\r\nContent-Length: 0\r\n\r\n"
    with serving(answer) as server:
        outcome = call(session, endpoint(server.url, method))

    key = parameters(server.requests[0])["key"][0]
    shown = f"{outcome} {caplog.text} {[vars(record) for record in caplog.records]}"
    for secret in ("geheim-pass", key, *CALL.mobiles, CALL.content, quote(CALL.content)):
        assert secret not in shown
    assert caplog.records, "urllib3 still says what it does"


@pytest.mark.parametrize(
    "url",
    ["", "gateway/api", "ftp://gateway/api", "http:///api", "https://", "http://g/#a", "http://g:99999/", "http://*/"],
)
def test_an_endpoint_that_is_no_address_is_refused(url: str) -> None:
    with pytest.raises(ValueError):
        endpoint(url)


def test_a_lease_is_told_what_it_must_outlast() -> None:
    at = Endpoint("http://gateway/", "post", "json", connect_timeout_seconds=3, read_timeout_seconds=10)

    assert at.longest == timedelta(seconds=21)

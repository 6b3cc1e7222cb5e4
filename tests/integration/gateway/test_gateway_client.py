"""Calls over real sockets that really time out, reset and close: each row of the outcome table, and what the server saw."""

import logging
import socket
import ssl
import struct
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import parse_qs, quote

import certifi
import pytest
import requests
from pydantic import SecretStr

from worker.domain.outcome import Outcome, Verdict
from worker.gateway import transport
from worker.gateway.client import Call, Credentials, Endpoint, Line, open_session, send, why_unreachable

READ_TIMEOUT = 0.2
NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
CREDENTIALS = Credentials(epr_id=7, user_id="sword123", password=SecretStr("geheim-pass"))
CALL = Call(msg_id=42, mobiles=("13025452766", "13800138000"), content="验证码 1+1=2 & more")
TAKEN = '{"result":"1","tips":"成功"}'.encode()


def http(body: bytes = TAKEN, status: str = "200 OK", *headers: str) -> bytes:
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *headers, "", ""]
    return "\r\n".join(lines).encode() + body


def read_request(connection: socket.socket) -> bytes:
    """One whole request; b"" when the client has closed."""
    data = b""
    while b"\r\n\r\n" not in data:
        if not (more := connection.recv(65536)):
            return b""
        data += more
    head, _, body = data.partition(b"\r\n\r\n")
    lengths = [int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
    while len(body) < sum(lengths):
        body += connection.recv(65536)
    return head + b"\r\n\r\n" + body


def reset(connection: socket.socket) -> None:
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


class Server:
    """A gateway on a real socket: `answer` gets each connection with the request read from it, and may close it."""

    def __init__(self, answer: Callable[[socket.socket], None], tls: ssl.SSLContext | None = None) -> None:
        self.requests: list[bytes] = []
        self.connections = 0
        self._answer, self._tls = answer, tls
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self.url = f"{'https' if tls else 'http'}://127.0.0.1:{self.port}/api/webservice"
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        try:
            if self._tls:
                connection = self._tls.wrap_socket(connection, server_side=True)
            with connection:
                while request := read_request(connection):
                    self.requests.append(request)
                    self._answer(connection)
        except OSError:
            pass  # closed by the test, by either side

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()


@contextmanager
def serving(answer: Callable[[socket.socket], None] | bytes, tls: ssl.SSLContext | None = None) -> Iterator[Server]:
    said = (lambda connection: connection.sendall(answer)) if isinstance(answer, bytes) else answer
    with closing(Server(said, tls)) as server:
        yield server


@pytest.fixture(autouse=True)
def _no_proxy_of_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.fixture
def session() -> Iterator[requests.Session]:
    with open_session(2) as opened:
        yield opened


def endpoint(url: str, method: str = "post") -> Endpoint:
    return Endpoint(url, method, "json", connect_timeout_seconds=READ_TIMEOUT, read_timeout_seconds=READ_TIMEOUT)  # type: ignore[arg-type]


class Pauses(list[float]):
    """Stands for time.sleep: notes the pauses instead of making them."""

    def __call__(self, seconds: float) -> None:
        self.append(seconds)


def call(session: requests.Session, at: Endpoint, pauses: Pauses | None = None) -> Outcome:
    slept = Pauses() if pauses is None else pauses
    return send(Line(session, at, CREDENTIALS), CALL, clock=lambda: NOW, skew=timedelta(), sleep=slept)


def said_by(request: bytes) -> dict[str, list[str]]:
    head, _, body = request.decode().partition("\r\n\r\n")
    return parse_qs(body or head.split()[1].partition("?")[2], strict_parsing=True)


# What the server does once it has the request, and what is known then.


def hang_up(connection: socket.socket) -> None:
    connection.shutdown(socket.SHUT_RDWR)


def half_a_body(connection: socket.socket) -> None:
    connection.sendall(http()[:-3])
    hang_up(connection)


def reset_in_the_body(connection: socket.socket) -> None:
    connection.sendall(http()[:-3])
    reset(connection)


def never(connection: socket.socket) -> None:
    connection.recv(1)  # until the client gives up


def stall_in_the_body(connection: socket.socket) -> None:
    connection.sendall(http()[:-3])
    connection.recv(1)


def drip(data: bytes) -> Callable[[socket.socket], None]:
    """A byte every twentieth of the read timeout: a socket's own timeout would never run out."""

    def answer(connection: socket.socket) -> None:
        for position in range(len(data)):
            connection.sendall(data[position : position + 1])
            time.sleep(READ_TIMEOUT / 20)

    return answer


def flood(connection: socket.socket) -> None:
    connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
    while True:
        connection.sendall(b" " * 65536)


WRITTEN = {
    "result 1": (http(), Verdict.ACCEPTED),
    "result 1 in chunks": (
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%b\r\n0\r\n\r\n" % (len(TAKEN), TAKEN),
        Verdict.ACCEPTED,
    ),
    "result 0": (http(b'{"result":0}'), Verdict.FAILED),
    "result -2": (http(b'{"result":"-2"}'), Verdict.CLOCK),
    "result -3": (http(b'{"result":"-3"}'), Verdict.ACCOUNT),
    "result -8": (http(b'{"result":"-8"}'), Verdict.REJECTED),
    "result 77": (http(b'{"result":"77"}'), Verdict.REJECTED),
    "429": (http(b"", "429 Too Many Requests"), Verdict.BUSY),
    "503 with Retry-After": (http(b"", "503 Away", "retry-after: 3"), Verdict.BUSY),
    "503": (http(b"", "503 Away"), Verdict.BUSY),
    "500": (http(b"", "500 Oops"), Verdict.UNKNOWN),
    "502": (http(b"", "502 Oops"), Verdict.UNKNOWN),
    "504": (http(b"", "504 Oops"), Verdict.UNKNOWN),
    "400": (http(b"no", "400 Bad Request"), Verdict.REJECTED),
    "404": (http(b"no", "404 Not Found"), Verdict.REJECTED),
    "a page": (http(b"<html>hello</html>"), Verdict.UNKNOWN),
    "an empty 200": (http(b""), Verdict.UNKNOWN),
    "a redirect": (http(b"", "302 Found", "Location: /elsewhere"), Verdict.UNKNOWN),
    "a redirect to nowhere": (http(b"", "307 Moved", "Location: http://[broken"), Verdict.UNKNOWN),
    "early hints": (http(b"", "103 Early Hints") + http(), Verdict.UNKNOWN),
    "no HTTP": (b"220 smtp.example.com ESMTP\r\n", Verdict.UNKNOWN),
    "a body said to be gzip": (http(TAKEN, "200 OK", "Content-Encoding: gzip"), Verdict.UNKNOWN),
    "a broken chunk": (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", Verdict.UNKNOWN),
    "a header of 100 KB": (b"HTTP/1.1 200 OK\r\nX: " + b"x" * 100_000 + b"\r\n\r\n", Verdict.UNKNOWN),
    "closed without a word": (hang_up, Verdict.UNKNOWN),
    "reset": (reset, Verdict.UNKNOWN),
    "no answer": (never, Verdict.UNKNOWN),
    "half a body": (half_a_body, Verdict.UNKNOWN),
    "reset in the body": (reset_in_the_body, Verdict.UNKNOWN),
    "stalled in the body": (stall_in_the_body, Verdict.UNKNOWN),
    "a body that drips": (drip(http(TAKEN + b" " * 1000)), Verdict.UNKNOWN),
    "a header that drips": (drip(b"HTTP/1.1 200 OK\r\nX: " + b"x" * 1000), Verdict.UNKNOWN),
    "a flood": (flood, Verdict.UNKNOWN),
}


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


# Where nothing was sent.


def refused() -> Iterator[str]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    yield f"http://127.0.0.1:{port}/"


def nameless() -> Iterator[str]:
    yield "http://gateway.invalid/"


def label_too_long() -> Iterator[str]:
    yield f"http://{'a' * 64}.invalid/"


def full_backlog() -> Iterator[str]:
    """A listener whose queue is full: the kernel drops the next SYN, so the connection times out."""
    with socket.socket() as listener, socket.socket() as first, socket.socket() as second:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for filler in (first, second):
            filler.setblocking(False)
            filler.connect_ex(listener.getsockname())
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/"


def plain_server_on_https() -> Iterator[str]:
    with closing(Handshakes(lambda connection: connection.sendall(b"220 hello\r\n"))) as server:
        yield server.url


def closed_in_the_handshake() -> Iterator[str]:
    with closing(Handshakes(lambda _: None)) as server:
        yield server.url


def reset_in_the_handshake() -> Iterator[str]:
    with closing(Handshakes(reset)) as server:
        yield server.url


def silent_in_the_handshake() -> Iterator[str]:
    with closing(Handshakes(never)) as server:
        yield server.url


class Handshakes(Server):
    """A server on an https address that does not get as far as a request: it answers the ClientHello."""

    def __init__(self, answer: Callable[[socket.socket], None]) -> None:
        super().__init__(answer)
        self.url = self.url.replace("http:", "https:")

    def _serve(self, connection: socket.socket) -> None:
        try:
            with connection:
                connection.recv(65536)
                self._answer(connection)
        except OSError:
            pass


UNREACHED = [
    refused,
    nameless,
    label_too_long,
    full_backlog,
    plain_server_on_https,
    closed_in_the_handshake,
    reset_in_the_handshake,
    silent_in_the_handshake,
]


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

    (said,) = (said_by(request) for request in server.requests)
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


# TLS.


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A self-signed certificate for 127.0.0.1, with its key."""
    path = tmp_path_factory.mktemp("tls") / "both.pem"
    options = "-x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=gateway"
    files = ["-keyout", str(path), "-out", str(path.with_suffix(".crt"))]
    subprocess.run(
        ["openssl", "req", *options.split(), "-addext", "subjectAltName=IP:127.0.0.1", *files],
        check=True,
        capture_output=True,
    )
    path.write_text(path.read_text() + path.with_suffix(".crt").read_text())
    return path


@pytest.fixture
def tls(certificate: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    return context


def test_a_certificate_that_nobody_vouches_for_is_not_sent_to(session: requests.Session, tls: ssl.SSLContext) -> None:
    with serving(http(), tls) as server:
        outcome = call(session, endpoint(server.url))
        why = why_unreachable(session, endpoint(server.url))

    assert (outcome.verdict, server.requests) == (Verdict.NOT_SENT, [])
    assert "SSLCertVerificationError" in str(outcome.tips)
    assert "SSLCertVerificationError" in str(why)


@pytest.mark.parametrize("variable", ["REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"])
def test_a_certificate_that_the_environment_vouches_for_is(
    certificate: Path, tls: ssl.SSLContext, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    monkeypatch.setenv(variable, str(certificate))
    with open_session(1) as session, serving(http(), tls) as server:
        outcomes = [call(session, endpoint(server.url)) for _ in range(3)]
        assert server.connections == 1
        assert why_unreachable(session, endpoint(server.url)) is None

    assert [outcome.verdict for outcome in outcomes] == [Verdict.ACCEPTED] * 3


def test_a_pinned_authority_counts_and_those_of_the_environment_no_more(
    certificate: Path, tls: ssl.SSLContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serving(http(), tls) as server:
        with open_session(1, certificate) as session:
            assert call(session, endpoint(server.url)).verdict == Verdict.ACCEPTED
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate))
        with open_session(1, Path(certifi.where())) as session:
            assert call(session, endpoint(server.url)).verdict == Verdict.NOT_SENT


def test_a_silence_under_tls_is_unknown_as_the_request_was_written(
    certificate: Path, tls: ssl.SSLContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate))
    for answer in (never, hang_up, reset, drip(http(TAKEN + b" " * 1000))):
        with open_session(1) as session, serving(answer, tls) as server:
            outcome = call(session, endpoint(server.url))

        assert (outcome.verdict, len(server.requests)) == (Verdict.UNKNOWN, 1)


def test_a_bundle_that_is_not_there_is_told_when_the_session_is_opened(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", "/nowhere.pem")

    with pytest.raises(OSError):
        open_session(1)


# Proxies.


def test_the_proxy_of_the_environment_is_used(session: requests.Session, monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(http()) as proxy:
        monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{proxy.port}")
        outcome = call(session, endpoint("http://proxied.invalid/api"))

    assert outcome.verdict is Verdict.ACCEPTED
    assert proxy.requests[0].startswith(b"POST http://proxied.invalid/api HTTP/1.1\r\n")


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_proxy_that_is_away_is_not_sent(
    session: requests.Session, monkeypatch: pytest.MonkeyPatch, scheme: str
) -> None:
    with contextmanager(refused)() as url:
        monkeypatch.setenv(f"{scheme}_proxy", url)
        assert call(session, endpoint(f"{scheme}://away.invalid/")).verdict is Verdict.NOT_SENT
        assert why_unreachable(session, endpoint(f"{scheme}://away.invalid/"))


@pytest.mark.parametrize(
    "answer", [http(b"", "407 Authenticate"), http(b"", "502 Oops"), hang_up, reset, never, b"?\r\n"]
)
def test_a_tunnel_that_the_proxy_does_not_dig_is_not_sent(
    session: requests.Session, monkeypatch: pytest.MonkeyPatch, answer: bytes
) -> None:
    transport.proxies_for.cache_clear()
    with serving(answer) as proxy:
        monkeypatch.setenv("https_proxy", f"http://127.0.0.1:{proxy.port}")
        outcome = call(session, endpoint("https://tunnelled.invalid/"))
        assert why_unreachable(session, endpoint("https://tunnelled.invalid/"))

    assert outcome.verdict is Verdict.NOT_SENT
    assert all(request.startswith(b"CONNECT tunnelled.invalid:443 ") for request in proxy.requests)


def test_a_proxy_that_is_no_address_is_not_sent(session: requests.Session, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://:0:0:/")

    assert call(session, endpoint("http://misproxied.invalid/")).verdict is Verdict.NOT_SENT
    assert why_unreachable(session, endpoint("http://misproxied.invalid/"))


# Connections.


def test_a_connection_is_kept_and_used_again(session: requests.Session) -> None:
    with serving(http()) as server:
        for _ in range(5):
            assert call(session, endpoint(server.url)).verdict is Verdict.ACCEPTED

    assert (server.connections, len(server.requests)) == (1, 5)


def test_each_of_the_threads_keeps_a_connection_of_its_own(session: requests.Session) -> None:
    together = threading.Barrier(2, timeout=5)

    def answer(connection: socket.socket) -> None:
        together.wait()
        connection.sendall(http())

    with serving(answer) as server:
        at = replace(endpoint(server.url), read_timeout_seconds=5)
        for _ in range(3):
            threads = [threading.Thread(target=call, args=(session, at)) for _ in range(2)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()

    assert (server.connections, len(server.requests)) == (2, 6)


def test_a_connection_that_the_gateway_closed_while_idle_is_not_used_again(session: requests.Session) -> None:
    closed = threading.Event()

    def answer(connection: socket.socket) -> None:
        connection.sendall(http())
        connection.shutdown(socket.SHUT_RDWR)
        closed.set()

    with serving(answer) as server:
        for _ in range(3):
            assert call(session, endpoint(server.url)).verdict is Verdict.ACCEPTED
            assert closed.wait(5)
            closed.clear()

    assert (server.connections, len(server.requests)) == (3, 3)


def test_a_connection_that_lay_idle_too_long_is_not_used_again(
    session: requests.Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transport, "MAX_IDLE_SECONDS", 0.0)
    with serving(http()) as server:
        for _ in range(3):
            assert call(session, endpoint(server.url)).verdict is Verdict.ACCEPTED

    assert server.connections == 3


@pytest.mark.parametrize("label", ["early hints", "half a body", "no answer", "a flood", "stalled in the body"])
def test_what_comes_late_is_never_taken_for_the_answer_to_the_next_call(session: requests.Session, label: str) -> None:
    answer, _ = WRITTEN[label]
    with serving(answer) as server:
        call(session, endpoint(server.url))
        call(session, endpoint(server.url))

    assert (server.connections, len(server.requests)) == (2, 2)


def test_cookies_are_not_kept(session: requests.Session) -> None:
    with serving(http(TAKEN, "200 OK", "Set-Cookie: a=b")) as server:
        call(session, endpoint(server.url))
        call(session, endpoint(server.url))

    assert not any(b"cookie" in request.lower() for request in server.requests)


# What goes over the wire, and what stays off the record.


@pytest.mark.parametrize("method", ["post", "get"])
@pytest.mark.parametrize("query", ["", "?tenant=1"])
def test_the_call_arrives_as_the_document_has_it(session: requests.Session, method: str, query: str) -> None:
    with serving(http()) as server:
        call(session, endpoint(server.url + query, method))

    head = server.requests[0].partition(b"\r\n\r\n")[0].decode()
    said = {name: values for name, (values,) in said_by(server.requests[0]).items()}
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

    key = said_by(server.requests[0])["key"][0]
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

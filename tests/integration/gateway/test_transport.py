"""Certificates, proxies and connections, over real sockets."""

import socket
import ssl
import subprocess
import threading
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import certifi
import pytest
import requests
from gateway_server import TAKEN, WRITTEN, call, drip, endpoint, hang_up, http, never, refused, reset, serving

from worker.domain.outcome import Verdict
from worker.gateway import transport
from worker.gateway.client import open_session, why_unreachable


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

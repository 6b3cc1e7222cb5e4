"""A gateway on a real socket that answers as it is told, also badly or not at all; and calls to it."""

import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from typing import Literal
from urllib.parse import parse_qs

import requests
from pydantic import SecretStr

from worker.devstack.loopback import held_ports
from worker.domain.outcome import Outcome, Verdict
from worker.gateway.client import Call, Credentials, Endpoint, Line, send

READ_TIMEOUT = 0.4
NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
CREDENTIALS = Credentials(epr_id=7, user_id="sword123", password=SecretStr("geheim-pass"))
CALL = Call(msg_id=42, mobiles=("13025452766", "13800138000"), content="验证码 1+1=2 & more")
TAKEN = '{"result":"1","tips":"成功"}'.encode()


def http(body: bytes = TAKEN, status: str = "200 OK", *headers: str) -> bytes:
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *headers, "", ""]
    return "\r\n".join(lines).encode() + body


def read_request(connection: socket.socket) -> bytes:
    """Reads one whole request. Returns b"" when the client has closed."""
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


def endpoint(url: str, method: Literal["post", "get"] = "post") -> Endpoint:
    return Endpoint(url, method, "json", connect_timeout_seconds=READ_TIMEOUT, read_timeout_seconds=READ_TIMEOUT)


class Pauses(list[float]):
    """Stands for time.sleep: notes the pauses instead of making them."""

    def __call__(self, seconds: float) -> None:
        self.append(seconds)


def call(session: requests.Session, at: Endpoint, pauses: Pauses | None = None) -> Outcome:
    slept = Pauses() if pauses is None else pauses
    return send(Line(session, at, CREDENTIALS), CALL, clock=lambda: NOW, skew=timedelta(), sleep=slept)


def parameters(request: bytes) -> dict[str, list[str]]:
    head, _, body = request.decode().partition("\r\n\r\n")
    return parse_qs(body or head.split()[1].partition("?")[2], strict_parsing=True)


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
    """Sends a byte every twentieth of the read timeout: a socket's own timeout would never run out."""

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
"""The answer of the server once it has the request, and the verdict then."""


def refused() -> Iterator[str]:
    with held_ports(1) as [port]:
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
"""Addresses where no request arrives."""

"""Drives the simulator in its tests: the real process, a raw socket, and a real callback server."""

import contextlib
import hashlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

import requests
from lxml import etree

ROOT = Path(__file__).parents[1]
EPR_ID, USER_ID, PASSWORD = "1", "sword123", "密码-pw"
DEADLINE_SECONDS = 10


def eventually(check: Callable[[], Any], what: str = "the expected state") -> Any:
    """The first true value of `check`, which is called again and again until the deadline."""
    ends = time.monotonic() + DEADLINE_SECONDS
    pause = threading.Event()
    while not (value := check()):
        assert time.monotonic() < ends, f"{what} did not come"
        pause.wait(0.01)
    return value


def sim_command(*options: str) -> list[str]:
    return [sys.executable, "-m", "simulator", *options]


def sim_environment(**extra: str) -> dict[str, str]:
    return {**{name: value for name, value in os.environ.items() if name != "SIM_PASSWORD"}, **extra}


@contextlib.contextmanager
def running_simulator(*options: str, password: str | None = PASSWORD) -> Iterator["Simulator"]:
    """The real process. Its password is in the environment, unless it is None."""
    environment = {"SIM_PASSWORD": password} if password else {}
    process = subprocess.Popen(
        sim_command(*options), cwd=ROOT, env=sim_environment(**environment), stdout=subprocess.PIPE, text=True
    )
    try:
        line = process.stdout.readline()
        assert line.startswith("simulator listening on http://"), line
        yield Simulator(line.split()[-1], process)
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
        try:
            process.wait(DEADLINE_SECONDS)
        finally:
            process.kill()
            process.stdout.close()


@dataclass
class Simulator:
    url: str
    process: subprocess.Popen
    http: requests.Session = field(default_factory=requests.Session)
    msg_id: int = 1000

    def params(self, **changes: str | None) -> dict[str, str]:
        """The parameters of a correct call with these changes. None leaves a parameter out."""
        self.msg_id += 1
        timestamp = changes.get("timestamp") or str(int(time.time() * 1000))
        key = hashlib.md5(f"{EPR_ID}{USER_ID}{PASSWORD}{timestamp}".encode()).hexdigest()
        params = {
            "cmd": "send",
            "eprId": EPR_ID,
            "userId": USER_ID,
            "timestamp": timestamp,
            "key": key,
            "msgId": str(self.msg_id),
            "format": "1",
            "mobile": "13025452766",
            "content": "您的验证码是1234",
        }
        return {name: value for name, value in {**params, **changes}.items() if value is not None}

    def send(self, method: str = "POST", **changes: str | None) -> requests.Response:
        params = self.params(**changes)
        where = {"params": params} if method == "GET" else {"data": params}
        return self.http.request(method, f"{self.url}/api/webservice", timeout=DEADLINE_SECONDS, **where)

    def result(self, **changes: str | None) -> str:
        return self.send(**changes).json()["result"]

    def get(self, name: str, **query: object) -> Any:
        return self._read(self.http.get(f"{self.url}/sim/{name}", params=query, timeout=DEADLINE_SECONDS))

    def post(self, name: str, **order: object) -> Any:
        return self._read(self.http.post(f"{self.url}/sim/{name}", data=json.dumps(order), timeout=DEADLINE_SECONDS))

    def behave(self, **order: object) -> Any:
        return self.post("behave", **order)

    def fault(self, **step: object) -> None:
        """Misbehaves this way at the next call only."""
        self.behave(script=[step])

    def taken(self) -> list[dict[str, Any]]:
        return self.get("calls")["calls"]

    def raw_send(self, **changes: str | None) -> "Exchange":
        """Sends a call on a bare socket, and reads until the other side ends the connection."""
        body = urlencode(self.params(**changes)).encode()
        head = f"POST /api/webservice HTTP/1.1\r\nHost: sim\r\nConnection: close\r\nContent-Length: {len(body)}\r\n\r\n"
        return exchange(self.url, head.encode() + body)

    @staticmethod
    def _read(response: requests.Response) -> Any:
        assert response.ok, response.text
        return response.json()


@dataclass(frozen=True)
class Exchange:
    received: bytes
    was_reset: bool

    @property
    def head(self) -> str:
        return self.received.partition(b"\r\n\r\n")[0].decode()

    @property
    def body(self) -> bytes:
        return self.received.partition(b"\r\n\r\n")[2]


def exchange(url: str, request: bytes) -> Exchange:
    address = urlsplit(url)
    received = b""
    with socket.create_connection((address.hostname, address.port), DEADLINE_SECONDS) as connection:
        connection.sendall(request)
        try:
            while chunk := connection.recv(65536):
                received += chunk
        except ConnectionResetError:
            return Exchange(received, was_reset=True)
    return Exchange(received, was_reset=False)


@dataclass(frozen=True)
class Received:
    method: str
    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def items(self) -> list[dict[str, str]]:
        root = etree.fromstring(self.body)
        return [{field.tag: field.text or "" for field in item} for item in root.find("list")]

    def text_of(self, tag: str) -> str:
        return etree.fromstring(self.body).findtext(tag)


class CallbackServer:
    """Keeps every push that it gets, and answers it with the status and body that `answer` returns."""

    def __init__(self) -> None:
        self.answer: Callable[[Received], tuple[int, bytes]] = lambda _: (200, b"SUCCESS")
        self.pushes: list[Received] = []
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self.url = f"http://127.0.0.1:{self._server.server_port}/push/token"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})
        self._thread.start()

    def wait_for(self, count: int) -> list[Received]:
        eventually(lambda: len(self.pushes) >= count, f"push {count}")
        return list(self.pushes)

    def items(self) -> list[dict[str, str]]:
        return [item for push in list(self.pushes) for item in push.items]

    def wait_for_items(self, count: int) -> list[dict[str, str]]:
        eventually(lambda: len(self.items()) >= count, f"item {count}")
        return self.items()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def _handler(server) -> type[BaseHTTPRequestHandler]:  # noqa: N805 - self is the handler's own
        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                length = int(self.headers.get("Content-Length", 0))
                push = Received(self.command, self.path, dict(self.headers), self.rfile.read(length))
                server.pushes.append(push)
                status, body = server.answer(push)
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            do_GET = do_POST  # noqa: N815 - http.server's name

            def log_message(self, *_: object) -> None:
                pass

        return Handler

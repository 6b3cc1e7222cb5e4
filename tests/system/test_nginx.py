"""deploy/nginx.conf in a real nginx before the real callback app: what a stranger can and cannot take from the gateway."""

import os
import shutil
import socket
import ssl
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from callback_app.body import MAX_BODY_BYTES
from worker.devstack.loopback import held_ports

REPO = Path(__file__).parents[2]
CONF = REPO / "deploy" / "nginx.conf"
TLS = REPO / "deploy" / "nginx-tls.conf"
CERTIFICATE = REPO / "tests" / "samples" / "self-signed.pem"
"""A certificate for 127.0.0.1, with its key."""
NGINX = shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
TOKEN = "0123456789abcdef"
GATEWAY, OTHER, STRANGER = "203.0.113.7", "203.0.113.8", "198.51.100.9"
BODY = b"<push/>"
LIMIT = int(MAX_BODY_BYTES)

pytestmark = [
    pytest.mark.skipif(not NGINX, reason="nginx is not on this machine: `apt-get install nginx-light` brings it"),
]


@dataclass(frozen=True)
class Door:
    """nginx behind a front proxy, which is this test: it says in X-Forwarded-For who connected to it."""

    port: int
    tls_port: int
    folder: Path

    def connected(self, head: bytes) -> socket.socket:
        connection = socket.create_connection(("127.0.0.1", self.port), 10)
        connection.sendall(head)
        return connection

    def asked(self, path: str, body: bytes = BODY, sender: str = GATEWAY) -> int:
        with self.connected(head(path, len(body), sender) + body) as connection:
            return status(connection)

    def buffered(self) -> int:
        """The bytes of bodies that nginx keeps in files, in use or not."""
        return sum(self._body_file_sizes())

    def _body_file_sizes(self) -> Iterator[int]:
        for process in psutil.Process(int((self.folder / "nginx.pid").read_text())).children():
            for fd in Path(f"/proc/{process.pid}/fd").iterdir():
                # nginx may have closed it since it was listed.
                with suppress(FileNotFoundError):
                    if str(self.folder / "body") in str(fd.readlink()):
                        yield fd.stat().st_blocks * 512


def head(path: str, length: int, sender: str) -> bytes:
    lines = [f"POST {path} HTTP/1.1", "Host: x", f"X-Forwarded-For: {sender}", f"Content-Length: {length}"]
    return "\r\n".join([*lines, "Connection: close", "", ""]).encode()


def status(connection: socket.socket) -> int:
    """The status of the answer; 0 if the connection ends without one."""
    try:
        said = connection.recv(65536)
    except ConnectionError:
        return 0
    return int(said.split()[1]) if said else 0


def until(true: Callable[[], object], seconds: float = 15) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end
        time.sleep(0.05)


def listens(port: int) -> bool:
    with socket.socket() as connection:
        return connection.connect_ex(("127.0.0.1", port)) == 0


def conf(folder: Path, port: int, tls_port: int, health: int, callback: int) -> str:
    """nginx.conf with this machine's ports and a folder of its own. Its workers are of the user that runs the test."""
    said = CONF.read_text().replace("include /etc/nginx/tls/*.conf;", TLS.read_text())
    for old, new in (
        ("/tmp/", f"{folder}/"),  # first, for the repo may lie there too
        ("listen 8080;", f"listen 127.0.0.1:{port};"),
        ("listen 8443 ssl;", f"listen 127.0.0.1:{tls_port} ssl;"),
        ("/run/secrets/tls_certificate", str(CERTIFICATE)),
        ("/run/secrets/tls_key", str(CERTIFICATE)),
        ("127.0.0.1:8081", f"127.0.0.1:{health}"),
        ("callback:8000", f"127.0.0.1:{callback}"),
        ("/dev/stdout", f"{folder}/access.log"),
        ("worker_processes auto", "worker_processes 2"),
    ):
        assert old in said
        said = said.replace(old, new)
    return ("user root;\n" if os.geteuid() == 0 else "") + said


@pytest.fixture(scope="module")
def door(sqlite_template: Path, valkey_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Door]:
    folder = tmp_path_factory.mktemp("door")
    ledger = shutil.copy(sqlite_template, folder / "ledger.db")
    settings = {
        "PYTHONPATH": str(REPO),
        "SMS_LEDGER_URL": f"sqlite:///{ledger}",
        "SMS_REDIS_URL": valkey_url,
        "SMS_PUSH_TOKEN": TOKEN,
        "SMS_PUSH_ALLOW": f"{GATEWAY}/32,{OTHER}/32",
        "SMS_PUSH_TRUSTED_PROXIES": "2",  # this test, and nginx
    }
    own = {name: value for name, value in os.environ.items() if not name.startswith("SMS_")}
    with ExitStack() as running:
        port, tls_port, health, callback = running.enter_context(held_ports(4))
        (folder / "nginx.conf").write_text(conf(folder, port, tls_port, health, callback))
        gunicorn = [sys.executable, "-m", "gunicorn", "callback_app.wsgi:app", "--bind", f"127.0.0.1:{callback}"]
        for command in (
            [*gunicorn, "-c", str(REPO / "deploy" / "gunicorn.conf.py")],
            [str(NGINX), "-c", str(folder / "nginx.conf"), "-p", str(folder)],
        ):
            process = subprocess.Popen(command, cwd=folder, env=own | settings)
            running.callback(process.wait)
            running.callback(process.terminate)
        until(lambda: listens(port) and listens(tls_port) and listens(callback))
        yield Door(port, tls_port, folder)


def test_a_push_is_taken_under_its_path_alone(door: Door) -> None:
    assert door.asked(f"/push/{TOKEN}") == 200
    assert door.asked(f"/push/{TOKEN}", BODY + b" " * (LIMIT - len(BODY))) == 200
    refused = ["/push/0123456789abcdeX", "/push/", f"//push/{TOKEN}", f"/x/../push/{TOKEN}", "/may-push", "/"]
    refused += [f"/may-push/{TOKEN}", f"/push/{TOKEN}/x", "/push/none", "/push/%ff", "/push/a b"]
    assert [path for path in refused if door.asked(path) not in (400, 404)] == []
    assert door.asked(f"/push/{TOKEN}", sender=STRANGER) == 403
    assert door.asked(f"/push/{TOKEN}", b"x" * (LIMIT + 1)) == 413


def test_a_push_by_tls_is_taken_by_its_certificate_and_no_version_that_is_out_of_date(door: Door) -> None:
    context = ssl.create_default_context(cafile=str(CERTIFICATE))
    with (
        socket.create_connection(("127.0.0.1", door.tls_port), 10) as plain,
        context.wrap_socket(plain, server_hostname="127.0.0.1") as connection,
    ):
        connection.sendall(head(f"/push/{TOKEN}", len(BODY), GATEWAY) + BODY)
        assert status(connection) == 200
    old = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    old.check_hostname, old.verify_mode = False, ssl.CERT_NONE
    old.set_ciphers("ALL:@SECLEVEL=0")
    with warnings.catch_warnings(action="ignore"):
        old.minimum_version, old.maximum_version = ssl.TLSVersion.TLSv1_1, ssl.TLSVersion.TLSv1_1
    with socket.create_connection(("127.0.0.1", door.tls_port), 10) as plain, pytest.raises(ssl.SSLError):
        old.wrap_socket(plain)


def test_a_push_in_chunks_is_taken_and_a_strangers_refused(door: Door) -> None:
    for path, answer in ((f"/push/{TOKEN}", 200), ("/push/0123456789abcdeX", 404)):
        request = f"POST {path} HTTP/1.1\r\nHost: x\r\nX-Forwarded-For: {GATEWAY}\r\nTransfer-Encoding: chunked\r\n\r\n"
        with door.connected(request.encode() + b"7\r\n<push/>\r\n0\r\n\r\n") as connection:
            assert status(connection) == answer


def test_a_push_by_get_has_its_query_still(door: Door) -> None:
    with door.connected(
        f"GET /push/{TOKEN}?<push/> HTTP/1.1\r\nHost: x\r\nX-Forwarded-For: {GATEWAY}\r\n\r\n".encode()
    ) as connection:
        assert status(connection) == 200


@pytest.mark.parametrize(
    ("path", "sender", "answer"),
    [
        ("/push/0123456789abcdeX", STRANGER, 404),
        ("/push/0123456789abcdeX", GATEWAY, 404),
        (f"/push/{TOKEN}", STRANGER, 403),
    ],
    ids=["no token", "no token, and the gateway's address", "the token, and another address"],
)
def test_uploads_of_a_stranger_are_not_read_and_keep_no_push_out(
    door: Door, path: str, sender: str, answer: int
) -> None:
    began = time.monotonic()
    with ExitStack() as opened:
        slow = [opened.enter_context(door.connected(head(path, LIMIT, sender) + b"x")) for _ in range(200)]
        assert [door.asked(f"/push/{TOKEN}") for _ in range(20)] == [200] * 20
        assert door.buffered() == 0
        assert {status(connection) for connection in slow} == {answer}
        # And their connections are free again.
        assert {status(connection) for connection in slow} == {0}
    assert time.monotonic() - began < 5


def test_an_upload_of_a_stranger_is_cut_off_though_he_goes_on_sending(door: Door) -> None:
    began = time.monotonic()
    with door.connected(head("/push/0123456789abcdeX", LIMIT, STRANGER)) as connection, pytest.raises(ConnectionError):
        while time.monotonic() - began < 10:
            connection.sendall(b"x" * 1000)
            time.sleep(0.1)  # the attack: a stranger who sends slowly, and does not stop
    assert time.monotonic() - began < 5


def test_one_address_of_the_gateway_leaves_places_to_the_others_and_all_bodies_fit_into_the_buffer(door: Door) -> None:
    with ExitStack() as opened:
        large = head(f"/push/{TOKEN}", LIMIT, GATEWAY) + b"x" * (LIMIT - 1)
        slow = [opened.enter_context(door.connected(large)) for _ in range(32)]
        until(lambda: door.buffered() > 31 * LIMIT)
        assert door.asked(f"/push/{TOKEN}") == 503
        assert door.asked(f"/push/{TOKEN}", sender=OTHER) == 200
        for connection in slow:
            connection.sendall(b"x")
        assert {status(connection) for connection in slow} == {200}
    until(lambda: door.asked(f"/push/{TOKEN}") == 200)


def test_the_log_tells_whose_push_it_was_and_no_token(door: Door) -> None:
    assert door.asked(f"/push/{TOKEN}", sender=OTHER) == 200
    log = door.folder / "access.log"
    # nginx writes the line after its answer.
    until(lambda: f" 127.0.0.1 for {OTHER} POST 200 " in log.read_text())
    assert TOKEN not in log.read_text()

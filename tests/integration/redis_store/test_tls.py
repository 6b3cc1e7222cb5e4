"""Redis behind TLS: each connection requires a certificate that it can verify, unless the URL says otherwise."""

import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from celery import Celery
from kombu.exceptions import OperationalError
from redis import Redis
from redis.exceptions import ConnectionError as RedisConnectionError

from worker.app import celery_settings
from worker.client import SmsClient, Unavailable
from worker.redis_store.celery_connection import AMQP
from worker.redis_store.connect import open_redis

CERTIFICATE = Path(__file__).parents[2] / "samples" / "self-signed.pem"
"""A certificate for 127.0.0.1, signed by nobody but itself."""
TRUSTING = {"no options": "", "hostnames only": "?ssl_check_hostname=true"}
KNOWING = {"the certificate": f"?ssl_ca_certs={CERTIFICATE}", "whatever it is": "?ssl_cert_reqs=none"}


@pytest.fixture
def tls(redis_url: str) -> Iterator[str]:
    """The address of that Valkey behind a TLS proxy: the Valkey of the wheel has no TLS."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(CERTIFICATE)
    valkey = urlsplit(redis_url)
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        with suppress(OSError):
            while True:
                plain, _ = listener.accept()
                threading.Thread(target=join, args=(plain,), daemon=True).start()

    def join(plain: socket.socket) -> None:
        with (
            suppress(OSError),
            context.wrap_socket(plain, server_side=True) as client,
            socket.create_connection((valkey.hostname, valkey.port)) as server,
        ):
            back = threading.Thread(target=pump, args=(server, client), daemon=True)
            back.start()
            pump(client, server)
            back.join()

    threading.Thread(target=serve, daemon=True).start()
    yield f"rediss://127.0.0.1:{listener.getsockname()[1]}/0"
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()


def pump(source: socket.socket, sink: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(65536):
            sink.sendall(data)
    with suppress(OSError):
        sink.shutdown(socket.SHUT_RDWR)


def workers_connection(url: str, monkeypatch: pytest.MonkeyPatch) -> Celery:
    """A Celery app as workers and beat have it."""
    monkeypatch.setenv("SMS_REDIS_URL", url)
    app = Celery("worker", amqp=AMQP, set_as_current=False)
    app.add_defaults(celery_settings)
    return app


@pytest.mark.parametrize("options", TRUSTING.values(), ids=TRUSTING)
def test_a_redis_whose_certificate_nobody_knows_is_not_talked_to(
    tls: str, options: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = tls + options
    app = workers_connection(url, monkeypatch)
    for connection in (app.connection_for_write(), app.connection_for_read()):
        with connection, pytest.raises(OperationalError, match="CERTIFICATE_VERIFY"):
            connection.ensure_connection(max_retries=1)
    with closing(open_redis(url, patience_seconds=5)) as redis, pytest.raises(RedisConnectionError):
        redis.ping()
    with pytest.raises(Unavailable):
        SmsClient(url).send("13800138000", "您好")


@pytest.mark.parametrize("options", KNOWING.values(), ids=KNOWING)
def test_what_the_url_says_of_certificates_holds_for_every_connection(
    tls: str, redis: Redis, options: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = tls + options
    assert SmsClient(url).send("13800138000", "您好", lane="otp")
    assert redis.llen("sms.otp") == 1
    with workers_connection(url, monkeypatch).connection_for_read() as connection:
        connection.ensure_connection(max_retries=1)
        assert connection.connected

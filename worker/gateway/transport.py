"""Connections to the gateway. They are kept alive, have time limits, and say whether a request left before a failure.

The exceptions of requests do not tell whether it left. A timeout in a TLS handshake and one in the wait for the
response are both a ReadTimeout; a reset in either is a ConnectionError. So the place of the error decides: in `connect`,
or after.
"""

import io
import logging
import os
import socket
import ssl
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from http import HTTPStatus
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from typing import Any, cast

import requests
import urllib3
from requests.adapters import DEFAULT_CA_BUNDLE_PATH, HTTPAdapter
from requests.utils import get_environ_proxies
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.exceptions import HTTPError
from urllib3.util import create_urllib3_context

MAX_IDLE_SECONDS = 4.0
"""A connection that was idle for longer is not used again. Servers close idle ones after 5 s (Apache, Node) to 75 s
(nginx). If a server closes one just as we write, nobody knows whether it took the call."""

BROKEN = (OSError, HTTPError, HTTPException, ValueError)
"""The errors of requests, urllib3, http.client and ssl. Their texts may have the URL, and so the key: only types are
shown."""


class NotConnected(Exception):
    """There was no connection, so no byte of the request left. The text names the types of the errors."""


def kind(error: BaseException) -> str:
    """The types of an error and of its first cause: `NewConnectionError (ConnectionRefusedError)`."""
    root = error
    while (cause := root.__cause__ or root.__context__) is not None:
        root = cause
    outer, inner = type(error).__name__, type(root).__name__
    return outer if root is error else f"{outer} ({inner})"


@contextmanager
def _before_the_request() -> Iterator[None]:
    try:
        yield
    except BROKEN as error:
        # None of these libraries catches this type, so it reaches our own `except`.
        raise NotConnected(kind(error)) from error


class _Until(io.RawIOBase):
    """A socket's stream with one deadline: the timeout of a socket itself starts anew with every byte that comes."""

    def __init__(self, stream: io.RawIOBase, sock: socket.socket) -> None:
        timeout = sock.gettimeout()
        self._until = None if timeout is None else time.monotonic() + timeout
        self._stream, self._sock = stream, sock

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        if self._until is not None:
            left = self._until - time.monotonic()
            if left <= 0:
                raise TimeoutError
            self._sock.settimeout(left)
        return cast("int | None", self._stream.readinto(buffer))

    def close(self) -> None:
        self._stream.close()
        super().close()


class _Response(HTTPResponse):
    """A response whose status line, headers and body must all have come within the read timeout."""

    def __init__(self, sock: socket.socket, *args: Any, **kwargs: Any) -> None:
        super().__init__(sock, *args, **kwargs)
        self.fp = io.BufferedReader(_Until(self.fp.detach(), sock))


class _Connection(HTTPConnection):
    response_class = _Response
    _used_at = float("-inf")

    def connect(self) -> None:
        """Looks up the name and connects by TCP, proxy and TLS. Raises NotConnected."""
        with _before_the_request():
            super().connect()

    def getresponse(self) -> urllib3.HTTPResponse:  # type: ignore[override]  # as in urllib3
        response = super().getresponse()
        self._used_at = time.monotonic()
        if response.status < HTTPStatus.OK:
            self.close()  # the final response would come later, and pass for the answer to the next call
        return response

    @property
    def is_connected(self) -> bool:
        """The pool asks this before it uses a connection again."""
        return time.monotonic() - self._used_at < MAX_IDLE_SECONDS and super().is_connected


class _TlsConnection(_Connection, HTTPSConnection):
    pass


class _Pool(HTTPConnectionPool):
    ConnectionCls = _Connection


class _TlsPool(HTTPSConnectionPool):
    ConnectionCls = _TlsConnection


_POOLS = {"http": _Pool, "https": _TlsPool}


class _Adapter(HTTPAdapter):
    def __init__(self, concurrency: int, ca: Path | None) -> None:
        self._tls = _tls_context(ca)
        # The pool does not block, for that wait has no timeout. Beyond its size a thread opens its own connection.
        super().__init__(pool_maxsize=concurrency, pool_block=False)

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, ssl_context=self._tls, **kwargs)
        self.poolmanager.pool_classes_by_scheme = _POOLS

    def proxy_manager_for(self, proxy: str, **kwargs: Any) -> Any:
        manager = super().proxy_manager_for(proxy, ssl_context=self._tls, **kwargs)
        manager.pool_classes_by_scheme = _POOLS
        return manager

    def get_connection_with_tls_context(self, *args: Any, **kwargs: Any) -> Any:
        with _before_the_request():
            return super().get_connection_with_tls_context(*args, **kwargs)

    def cert_verify(self, *args: Any, **kwargs: Any) -> None:
        """Does nothing: the context holds the certificates, and need not load them again for each connection."""


def _tls_context(ca: Path | None) -> ssl.SSLContext:
    bundle = ca or os.environ.get("REQUESTS_CA_BUNDLE") or os.environ.get("CURL_CA_BUNDLE") or DEFAULT_CA_BUNDLE_PATH
    context = create_urllib3_context()
    where = "capath" if Path(bundle).is_dir() else "cafile"
    context.load_verify_locations(**{where: str(bundle)})
    return context


def connect(session: requests.Session, url: str, timeout_seconds: float) -> None:
    """Opens a connection as a call to the URL would, sends nothing, and closes it. Raises NotConnected."""
    request = requests.Request("POST", url).prepare()
    adapter = cast("_Adapter", session.get_adapter(url))
    pool = adapter.get_connection_with_tls_context(request, verify=True, proxies=proxies_for(url))
    # urllib3 has no public way to connect without a request.
    connection = pool._new_conn()
    connection.timeout = timeout_seconds
    try:
        with _before_the_request():
            if pool.proxy is not None and pool.scheme == "https":
                pool._prepare_proxy(connection)
            else:
                connection.connect()
    finally:
        connection.close()


@lru_cache
def proxies_for(url: str) -> dict[str, str]:
    """The proxies that the environment names for a URL (http_proxy, https_proxy, no_proxy), looked up once."""
    return dict(get_environ_proxies(url))


def _shows_no_call(record: logging.LogRecord) -> bool:
    return "cmd=send" not in record.getMessage()


def open_session(concurrency: int, ca: Path | None = None) -> requests.Session:
    """The session that all threads of a process share. It keeps up to `concurrency` connections alive.

    It repeats no request and follows no redirect. It trusts only the certificate authorities in the PEM file `ca`;
    without it, those of the environment (REQUESTS_CA_BUNDLE, CURL_CA_BUNDLE) or of certifi. Raises OSError if these
    cannot be read. It drops urllib3's log records that show the URL of a call, at any level.
    """
    for name in ("urllib3.connectionpool", "urllib3.connection", "urllib3.util.retry"):
        logging.getLogger(name).addFilter(_shows_no_call)
    session = requests.Session()
    session.trust_env = False
    adapter = _Adapter(concurrency, ca)
    session.mount("http://", adapter)
    session.mount("https://", adapter)
    return session

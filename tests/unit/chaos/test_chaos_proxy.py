"""The proxy between the workers and the gateway, on real sockets."""

import socket
import threading
from collections.abc import Iterator

import pytest

from chaos.proxy import Proxy, running_proxy


@pytest.fixture
def proxy() -> Iterator[Proxy]:
    """A proxy in front of a server that sends back what it gets."""
    with socket.create_server(("127.0.0.1", 0)) as server, running_proxy() as running:
        running.to_port = server.getsockname()[1]
        threading.Thread(target=_echo, args=(server,), daemon=True).start()
        yield running


def test_an_open_proxy_forwards_both_ways(proxy: Proxy) -> None:
    with _connected(proxy) as connection:
        connection.sendall(b"a call")
        assert connection.recv(100) == b"a call"


def test_a_closed_proxy_cuts_its_connections_and_refuses_new_ones(proxy: Proxy) -> None:
    with _connected(proxy) as connection:
        connection.sendall(b"a call")
        connection.recv(100)
        proxy.close()
        assert connection.recv(100) == b""
    with pytest.raises(ConnectionRefusedError):
        _connected(proxy)


def test_a_proxy_that_opens_again_has_the_same_port(proxy: Proxy) -> None:
    url = proxy.gateway_url
    proxy.close()
    proxy.open()
    assert proxy.gateway_url == url
    test_an_open_proxy_forwards_both_ways(proxy)


def _connected(proxy: Proxy) -> socket.socket:
    return socket.create_connection(("127.0.0.1", proxy.port), timeout=10)


def _echo(server: socket.socket) -> None:
    while True:
        try:
            connection, _ = server.accept()
        except OSError:
            return
        with connection:
            while part := connection.recv(100):
                connection.sendall(part)

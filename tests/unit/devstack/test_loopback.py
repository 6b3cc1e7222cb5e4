"""Ports of this machine for servers that are started later."""

import socket
import sys

import pytest

from worker.devstack.loopback import held_ports


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux lets a server have a port that is held")
def test_a_held_port_is_given_to_nobody_else_before_a_server_listens_there_or_after() -> None:
    with held_ports(1) as [port]:
        for _ in range(2):
            assert is_taken(port)
            with socket.create_server(("127.0.0.1", port)) as server:
                assert is_taken(port)
                with socket.create_connection(("127.0.0.1", port)):
                    server.accept()[0].close()


def test_at_a_held_port_nothing_answers() -> None:
    with held_ports(1) as [port], pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port))


def is_taken(port: int) -> bool:
    with socket.socket() as other:
        try:
            other.bind(("127.0.0.1", port))
        except OSError:
            return True
    return False

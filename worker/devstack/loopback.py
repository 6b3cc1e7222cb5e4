"""Free ports on this machine, and HTTP to what listens on them. No proxy of the environment is used."""

import json
import secrets
import socket
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from typing import Any
from urllib.request import ProxyHandler, Request, build_opener

open_url = build_opener(ProxyHandler({})).open
PORTS = range(10_000, 30_000)
"""Below the ports that the system hands out to clients.

From among those, a client that connects while its server is down could be given the server's own port. It would then
talk to itself, and the server could not start again.
"""


@contextmanager
def held_ports(count: int) -> Iterator[list[int]]:
    """That many ports that nothing listens on, and that no other caller is given within the block.

    A server can listen on one, end, and listen again. Elsewhere than on Linux a port cannot be held, so another caller
    may be given it while no server listens there.
    """
    with ExitStack() as held:
        ports: list[int] = []
        while len(ports) < count:
            port = PORTS.start + secrets.randbelow(len(PORTS))
            holder = held.enter_context(socket.socket())
            with suppress(OSError):
                # Without SO_REUSEADDR, so that a port that is held or used is refused.
                holder.bind(("127.0.0.1", port))
                # From now on Linux lets a server, which sets it too, have the port beside us.
                holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                ports.append(port)
        if sys.platform != "linux":
            held.close()
        yield ports


def answers(url: str) -> bool:
    """Whether a GET of the URL is answered with 200."""
    try:
        with open_url(url, timeout=5) as response:
            return bool(response.status == 200)
    except OSError:
        return False


def ask(url: str, body: Mapping[str, Any] | None = None) -> Any:
    """The JSON that the URL answers with: to a POST of `body` as JSON, or to a GET without one. Raises OSError."""
    data = None if body is None else json.dumps(body).encode()
    request = Request(url, data, {"Content-Type": "application/json"})  # noqa: S310 - the callers give http URLs of this machine
    with open_url(request, timeout=30) as response:
        return json.load(response)

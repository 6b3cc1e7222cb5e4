"""Free ports on this machine, and HTTP to what listens on them. No proxy of the environment is used."""

import json
import secrets
import socket
from collections.abc import Mapping
from contextlib import ExitStack, suppress
from typing import Any
from urllib.request import ProxyHandler, Request, build_opener

open_url = build_opener(ProxyHandler({})).open
PORTS = range(10_000, 30_000)
"""Below the ports that the system hands out to clients.

From among those, a client that connects while its server is down could be given the server's own port. It would then
talk to itself, and the server could not start again.
"""


def free_ports(count: int) -> list[int]:
    """That many different ports that nothing listens on."""
    ports: list[int] = []
    with ExitStack() as held:
        while len(ports) < count:
            port = PORTS.start + secrets.randbelow(len(PORTS))
            with suppress(OSError):
                held.enter_context(socket.create_server(("127.0.0.1", port)))
                ports.append(port)
    return ports


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

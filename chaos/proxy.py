"""The proxy between the workers and the gateway. It can be closed, so that connections are refused.

The gateway itself cannot be stopped for that, because it holds the log that the checker reads.
"""

import asyncio
import threading
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from worker.devstack.loopback import held_ports

BYTES = 65_536


class Proxy:
    """Listens on a port of loopback and forwards to `to_port`, in a thread of its own."""

    def __init__(self, port: int) -> None:
        self.to_port = 0
        self.port = port
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self._loop = asyncio.new_event_loop()
        threading.Thread(target=self._loop.run_forever, name="proxy", daemon=True).start()

    @property
    def gateway_url(self) -> str:
        """The gateway's address by way of the proxy."""
        return f"http://127.0.0.1:{self.port}/api/webservice"

    def open(self) -> None:
        """Accepts connections, on the same port each time."""
        self._run(self._listen())

    def close(self) -> None:
        """Refuses connections and cuts the ones that exist."""
        self._run(self._cut())

    def end(self) -> None:
        """Closes the proxy for good."""
        self.close()
        self._loop.call_soon_threadsafe(self._loop.stop)

    def _run(self, work: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(10)

    async def _listen(self) -> None:
        if self._server is None:
            self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port, backlog=1024)

    async def _cut(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None
        for writer in self._writers:
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            other_reader, other_writer = await asyncio.open_connection("127.0.0.1", self.to_port)
        except OSError:
            writer.close()
            return
        both = {writer, other_writer}
        self._writers |= both
        await asyncio.gather(_forward(reader, other_writer), _forward(other_reader, writer))
        self._writers -= both


async def _forward(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while part := await reader.read(BYTES):
            writer.write(part)
            await writer.drain()
    writer.close()


@contextmanager
def running_proxy() -> Iterator[Proxy]:
    """A proxy that is open. Its `to_port` must be set before anybody connects."""
    with held_ports(1) as [port]:
        proxy = Proxy(port)
        proxy.open()
        try:
            yield proxy
        finally:
            proxy.end()

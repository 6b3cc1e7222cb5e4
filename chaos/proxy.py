"""The way from the workers to the gateway: a door that can be shut, so that connections are refused.

The gateway itself cannot be ended for that: it holds the log that all is judged by.
"""

import asyncio
import random
import threading
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager, suppress
from typing import Any

BYTES = 65_536
PORTS = range(10_000, 30_000)
"""Below those that the system hands out to clients, for one of them could take it while the door is shut."""


class Door:
    """Listens on a port of its own and hands everything on, both on loopback, in a thread of its own."""

    def __init__(self) -> None:
        self.to_port = 0
        self.port = 0
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self._loop = asyncio.new_event_loop()
        threading.Thread(target=self._loop.run_forever, name="door", daemon=True).start()

    def open(self) -> None:
        self._do(self._listen())

    def shut(self) -> None:
        """Refuses connections and cuts those that there are."""
        self._do(self._cut())

    def end(self) -> None:
        self.shut()
        self._loop.call_soon_threadsafe(self._loop.stop)

    def _do(self, what: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(what, self._loop).result(10)

    async def _listen(self) -> None:
        while self._server is None:
            port = self.port or random.choice(PORTS)
            with suppress(OSError):
                self._server = await asyncio.start_server(self._serve, "127.0.0.1", port, backlog=1024)
                self.port = port

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
        await asyncio.gather(_hand_on(reader, other_writer), _hand_on(other_reader, writer))
        self._writers -= both


async def _hand_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while part := await reader.read(BYTES):
            writer.write(part)
            await writer.drain()
    writer.close()


@contextmanager
def open_door() -> Iterator[Door]:
    """A door that is open, with its port; what is behind it is to be said before anybody comes."""
    door = Door()
    door.open()
    try:
        yield door
    finally:
        door.end()

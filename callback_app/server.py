"""Gunicorn's thread worker, and a time within which a request has to arrive: who stalls in it would hold a thread for good."""

import socket
from concurrent.futures import Future
from contextlib import suppress
from time import monotonic

from gunicorn.workers.gthread import TConn, ThreadWorker

ARRIVAL_SECONDS = 5
"""From the connection, or from the first byte of its next request, to the last of the body: 4 MiB at 1 MB/s."""

GRACE_SECONDS = 1
"""What a request has in any case once a thread reads it: who had to wait for others need not wait in vain."""


class Worker(ThreadWorker):
    """What has not arrived in time is cut off: a body then counts as cut short and is answered with 400.

    The time runs while a connection waits for a thread, so that many who stall at once are done with almost at once.
    """

    def init_process(self) -> None:
        self._ends: dict[TConn, float] = {}
        super().init_process()

    def enqueue_req(self, conn: TConn) -> None:
        self._ends[conn] = monotonic() + ARRIVAL_SECONDS
        super().enqueue_req(conn)

    def handle(self, conn: TConn) -> bool:
        self._ends[conn] = max(self._ends[conn], monotonic() + GRACE_SECONDS)
        return super().handle(conn)

    def finish_request(self, conn: TConn, fs: Future[bool]) -> None:
        del self._ends[conn]
        super().finish_request(conn, fs)

    def murder_pending(self) -> None:
        """Called by the main loop after every event, and once a second without any."""
        super().murder_pending()
        now = monotonic()
        for conn, end in self._ends.copy().items():
            if end <= now:
                # What it sent before can be read still, and it can be answered.
                with suppress(OSError):
                    conn.sock.shutdown(socket.SHUT_RD)

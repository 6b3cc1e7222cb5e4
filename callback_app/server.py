"""Gunicorn's thread worker, with a time limit for the arrival of a request: a stalled client would keep its thread.

Gunicorn has no setting for this, and no public hook: `limit_request_*` bound sizes, `timeout` ends a whole worker. So
the class overrides methods of ThreadWorker. tests/unit/callback_app/test_server.py holds what it relies on to the
installed version.
"""

import socket
from concurrent.futures import Future
from contextlib import suppress
from time import monotonic

from gunicorn.workers.gthread import TConn, ThreadWorker

ARRIVAL_SECONDS = 5
"""From the connection, or from the first byte of its next request, to the last byte of the body: 4 MiB at 1 MB/s."""

GRACE_SECONDS = 1
"""The least time that a request has once a thread reads it, also where it waited long for a thread."""


class Worker(ThreadWorker):
    """Cuts off a request that does not arrive in time: its body counts as cut short, and is answered with 400.

    The time runs while a connection waits for a thread, so that many stalled connections end almost at once.
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
        """Gunicorn's main loop calls this after every event, and once a second without one."""
        super().murder_pending()
        now = monotonic()
        for conn, end in self._ends.copy().items():
            if end <= now:
                # What it has sent can still be read, and it can still be answered.
                with suppress(OSError):
                    conn.sock.shutdown(socket.SHUT_RD)

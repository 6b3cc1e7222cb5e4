"""The ledger of a stack: its schema, and on PostgreSQL its roles with their passwords."""

import secrets
from collections.abc import Mapping
from pathlib import Path

from sqlalchemy import URL, make_url

from worker.config.addresses import is_ledger_address
from worker.devstack.errors import StackError
from worker.ledger import roles
from worker.ledger.engine import open_engine, reading
from worker.ledger.schema import make_roles, migrate


def absolute(ledger_url: str) -> str:
    """The URL with the absolute path of a SQLite file: the processes run in another directory than ours.

    Raises StackError if it is not the URL of a ledger.
    """
    url = make_url(ledger_url) if is_ledger_address(ledger_url) else None
    if url is None or not url.database:
        raise StackError(
            "the ledger's address is not the address of a database; write it like"
            " postgresql://USER:PASSWORD@HOST/DATABASE or sqlite:///ledger.db, with %40 for an @ in its password"
        )
    if url.get_backend_name() == "sqlite":
        url = url.set(database=str(Path(url.database).absolute()))
    return url.render_as_string(hide_password=False)


def at_file(path: Path) -> str:
    """The URL of the SQLite file, whatever characters its path has."""
    return URL.create("sqlite", database=str(path.absolute())).render_as_string()


def role_passwords(directory: Path, ledger_url: str) -> dict[str, str]:
    """The passwords of the ledger's roles.

    Empty if the URL's user is not a superuser of PostgreSQL, who could make roles.

    They are kept in the directory. Raises StackError if the roles were not made from there: they are another
    installation's, and its passwords would be changed.
    """
    file = directory / "ledger-passwords"
    engine = open_engine(ledger_url)
    with reading(engine) as connection:
        may_make, exist = roles.is_superuser(connection), roles.have_roles(connection)
    engine.dispose()
    if may_make and exist and not file.exists():
        raise StackError(
            "the ledger has the roles of another installation, and their passwords are not in this directory; "
            "take its directory, or another database"
        )
    if not may_make:
        return {}
    file.touch(mode=0o600)
    passwords = dict(line.split() for line in file.read_text(encoding="utf-8").splitlines())
    passwords |= {role: secrets.token_urlsafe(24) for role in roles.ROLES if role not in passwords}
    file.write_text("".join(f"{role} {password}\n" for role, password in passwords.items()), encoding="utf-8")
    return passwords


def url_as(role: str, ledger_url: str, passwords: Mapping[str, str]) -> str:
    """The ledger's URL as the user with that role (worker/ledger/roles.py).

    The same URL where there are no passwords.
    """
    if not passwords:
        return ledger_url
    url = make_url(ledger_url)
    user = roles.role_names(str(url.database))[role]
    return url.set(username=user, password=passwords[role]).render_as_string(hide_password=False)


def prepare(ledger_url: str, passwords: Mapping[str, str]) -> None:
    """Makes the roles where there are passwords for them, then migrates the schema as its owner."""
    if passwords:
        superuser = open_engine(ledger_url)
        make_roles(superuser, passwords)
        superuser.dispose()
    owner = open_engine(url_as(roles.OWNER, ledger_url, passwords))
    migrate(owner)
    owner.dispose()

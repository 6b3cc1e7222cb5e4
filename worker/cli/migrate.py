"""`sms migrate`: makes or updates the tables of the ledger. It needs SMS_LEDGER_URL and nothing else."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer
from sqlalchemy import Engine, make_url
from sqlalchemy.exc import ArgumentError

from worker.cli.connections import open_ledger
from worker.cli.errors import Failed
from worker.config import load_settings
from worker.ledger import schema
from worker.ledger.engine import reading
from worker.ledger.roles import OWNER, current_role_names, is_superuser

LONGEST_NAME = 63
"""The longest name, in bytes. PostgreSQL cuts off the rest of a longer name."""
URL = "write postgresql+psycopg://USER:PASSWORD@HOST:5432/DATABASE"


def migrate(
    roles: Annotated[
        Path | None,
        typer.Option(
            metavar="DIRECTORY",
            exists=True,
            file_okay=False,
            help="Make the roles of a ledger on PostgreSQL instead, with the passwords in the files ledger_url_ROLE there.",
        ),
    ] = None,
) -> None:
    """Brings the ledger up to date.

    Makes the tables of an empty ledger, and updates those of an older version. A second run changes nothing.

    With --roles it only makes the users for the workers, the callback app and others. SMS_LEDGER_URL has to name a
    superuser for that. Afterwards run it without --roles, as the owner of the ledger.

    \b
    Example:
      SMS_LEDGER_URL=sqlite:////var/lib/sms/ledger.db sms migrate
      SMS_LEDGER_URL_FILE=deploy/secrets/ledger_url_superuser sms migrate --roles deploy/secrets
    """
    engine = open_ledger(load_settings("ledger"))
    if roles is None:
        _migrate(engine)
    else:
        _make_roles(engine, roles)
    engine.dispose()


def _migrate(engine: Engine) -> None:
    before = schema.version(engine)
    schema.migrate(engine)
    after = schema.version(engine)
    if before == after:
        typer.echo(f"the ledger is at version {after} already")
    else:
        typer.echo(f"the ledger went from {f'version {before}' if before else 'empty'} to version {after}")


def _make_roles(engine: Engine, directory: Path) -> None:
    if engine.dialect.name == "sqlite":
        raise Failed(
            "SQLite has no users, so it has no roles: whoever may write the file may do everything; leave out --roles"
        )
    with reading(engine) as connection:
        named = current_role_names(connection)
        if not is_superuser(connection):
            raise Failed(
                "the user in SMS_LEDGER_URL is not a superuser of PostgreSQL; --roles needs one:"
                " set the URL of a superuser"
            )
    if max(len(name.encode()) for name in named.values()) > LONGEST_NAME:
        raise Failed(
            "the name of the database is too long: with the name of a role it may have 63 bytes; choose a shorter name"
        )
    passwords = _passwords(directory, named)
    if not passwords:
        raise Failed(
            f"{directory} has none of the files ledger_url_{', ledger_url_'.join(named)};"
            " without a password nobody could connect; `deploy/make-secrets` writes such files"
        )
    schema.make_roles(engine, passwords)
    for role, name in named.items():
        typer.echo(f"{name} {'has the password of its file' if role in passwords else 'was given no password'}")
    typer.echo(f"now run `sms migrate` as {named[OWNER]}, which gives them their rights")


def _passwords(directory: Path, named: Mapping[str, str]) -> dict[str, str]:
    """The passwords in the URLs of the roles that have a file."""
    passwords: dict[str, str] = {}
    for role, name in named.items():
        path = directory / f"ledger_url_{role}"
        if not path.exists():
            continue
        try:
            url = make_url(path.read_text(encoding="utf-8").strip())
        except (ArgumentError, ValueError, OSError) as error:
            # Not chained: the cause may quote the file.
            raise Failed(f"{path} cannot be read as the URL of a database ({type(error).__name__}); {URL}") from None
        if url.username != name or not url.password:
            raise Failed(f"{path} has to name the user {name} and a password; {URL}")
        passwords[role] = url.password
    return passwords

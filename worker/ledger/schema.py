"""The schema's version: brought up to date by `sms migrate`, and asked for by every process that starts."""

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Engine

from worker.ledger.engine import reading


class WrongSchema(RuntimeError):
    """The ledger is not at the version that this code was written for; the text says what to do."""


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    return config


def wanted_version() -> str | None:
    """The version that this code was written for."""
    return ScriptDirectory.from_config(_config()).get_current_head()


def version(engine: Engine) -> str | None:
    """The version that the ledger is at; None where it is empty."""
    with reading(engine) as connection:
        return MigrationContext.configure(connection).get_current_revision()


def migrate(engine: Engine) -> None:
    """Brings the ledger to the wanted version, in one transaction; does nothing where it is there already."""
    config = _config()
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "head")


def check(engine: Engine) -> None:
    """Raises WrongSchema unless the ledger is at the wanted version."""
    found, wanted = version(engine), wanted_version()
    if found is None:
        raise WrongSchema("the ledger is empty; run `sms migrate` once, then start again")
    if found != wanted:
        raise WrongSchema(
            f"the ledger is at version {found}, this program needs {wanted}; run `sms migrate` of the newest installed version"
        )

"""The schema's version and the roles.

`sms migrate` brings both up to date, and every process that starts checks the version.
"""

import logging
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine, Index, Table, inspect, select, text
from sqlalchemy.exc import OperationalError
from sqlalchemy.schema import CreateIndex

from worker.ledger import roles
from worker.ledger.engine import LOCK_WAIT, NO_LOCK, reading
from worker.ledger.tables import BUILT_BESIDE

log = logging.getLogger(__name__)

TRIES = 30
TRY_AGAIN_SECONDS = 1.0
IN_USE = frozenset({NO_LOCK, "40P01"})
"""PostgreSQL's codes for a lock that could not be had in time, and for a deadlock."""


class WrongSchema(RuntimeError):
    """The ledger is not at the version that this code needs. The text says what to do."""


class LedgerInUse(RuntimeError):
    """The ledger could not be migrated, because others use it. What was under way was not changed. The text says
    which process uses it, and what to do.
    """


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    return config


def wanted_version() -> str | None:
    """Returns the version that this code needs."""
    return ScriptDirectory.from_config(_config()).get_current_head()


def version(engine: Engine) -> str | None:
    """Returns the version of the ledger; None where it is empty."""
    with reading(engine) as connection:
        return MigrationContext.configure(connection).get_current_revision()


def migrate(engine: Engine, *, pause: Callable[[float], bool | None] = time.sleep) -> None:
    """Brings the ledger to the wanted version in one transaction, with the rights of its roles where it has roles.

    Then it builds the missing indexes of BUILT_BESIDE. On PostgreSQL others write to their tables meanwhile.

    On PostgreSQL it waits at most LOCK_WAIT for each lock, because others that come to the table wait behind it. Then
    it lets the others go on, and tries again after a pause. It gives up where `pause` returns True, or after TRIES.
    Then it raises LedgerInUse: the migration is done as a whole or not at all, and the indexes may be missing.
    """
    _in_one_transaction(engine, _upgrade, pause)
    # Of two that build the same index, PostgreSQL ends one as a deadlock.
    _again_while_in_use(engine, partial(_build_indexes, engine), pause)


def make_roles(
    engine: Engine, passwords: Mapping[str, str], *, pause: Callable[[float], bool | None] = time.sleep
) -> None:
    """Makes the roles of a ledger on PostgreSQL in one transaction, with these passwords. It waits as `migrate` does.

    The roles have no rights before `migrate` gives them some.
    """
    _in_one_transaction(engine, partial(roles.make, passwords=passwords), pause)


def _in_one_transaction(
    engine: Engine, change: Callable[[Connection], None], pause: Callable[[float], bool | None]
) -> None:
    def run() -> None:
        with engine.begin() as connection:
            if connection.dialect.name == "postgresql":
                connection.execute(text(f"SET LOCAL lock_timeout = '{LOCK_WAIT}'"))
                # Of two that come at once, the second finds what the first has done.
                connection.execute(text("SELECT pg_advisory_xact_lock(hashtext('sms: schema'))"))
            change(connection)

    _again_while_in_use(engine, run, pause)


def _again_while_in_use(engine: Engine, run: Callable[[], None], pause: Callable[[float], bool | None]) -> None:
    for _ in range(TRIES):
        try:
            run()
        except OperationalError as error:
            if getattr(error.orig, "sqlstate", None) not in IN_USE:
                raise
        else:
            return
        log.warning("the ledger is in use; trying again")
        if pause(TRY_AGAIN_SECONDS):
            break
    raise LedgerInUse(
        f"the ledger is in use, so nothing more was changed; {_who_uses(engine)}."
        "\nEnd the process that takes long (a dump, a report, an open session) or stop the workers, then try again."
    )


def _upgrade(connection: Connection) -> None:
    has_roles = roles.have_roles(connection)
    if has_roles:
        roles.become_owner(connection)
    config = _config()
    config.attributes["connection"] = connection
    command.upgrade(config, "head")
    if has_roles:
        roles.grant(connection)


def _build_indexes(engine: Engine) -> None:
    with reading(engine) as connection:
        for table, index in BUILT_BESIDE:
            _drop_broken_off(connection, index)
            if index.name not in {kept["name"] for kept in inspect(connection).get_indexes(table.name)}:
                _build(connection, table, index)


def _drop_broken_off(connection: Connection, index: Index) -> None:
    """Drops the index where PostgreSQL was stopped while it built it: it takes time, and no query uses it."""
    if connection.dialect.name == "postgresql":
        for name in connection.execute(_BROKEN_OFF, {"name": index.name}).scalars():
            connection.execute(text(f"DROP INDEX CONCURRENTLY {name}"))


def _build(connection: Connection, table: Table, index: Index) -> None:
    has_rows = select(select(table).exists())
    if connection.execute(has_rows).scalar_one():
        log.warning("building the index %s; it waits for open transactions, and nothing waits for it", index.name)
    connection.execute(CreateIndex(index, if_not_exists=True))


_BROKEN_OFF = text("""
    SELECT indexrelid::regclass::text FROM pg_index WHERE indexrelid = to_regclass(:name) AND NOT indisvalid
    AND indexrelid NOT IN (SELECT index_relid FROM pg_stat_progress_create_index)
""")


def _who_uses(engine: Engine) -> str:
    oldest = text("""
        SELECT pid, application_name, CAST(extract(epoch FROM clock_timestamp() - xact_start) AS int)
        FROM pg_stat_activity
        WHERE datname = current_database() AND xact_start IS NOT NULL AND pid <> pg_backend_pid()
        ORDER BY xact_start LIMIT 1
    """)
    with reading(engine) as connection:
        row = connection.execute(oldest).first()
    if row is None:
        return "the session that used it has just ended"
    return (
        f"the oldest transaction is {row[2]} s old, of process {row[0]} of the database ({row[1] or 'without a name'})"
    )


def check(engine: Engine) -> None:
    """Raises WrongSchema unless the ledger is at the wanted version."""
    current, wanted = version(engine), wanted_version()
    if current is None:
        raise WrongSchema("the ledger is empty; run `sms migrate` once, then start again")
    if current != wanted:
        raise WrongSchema(
            f"the ledger is at version {current}, this program needs {wanted};"
            " run `sms migrate` of the newest installed version"
        )

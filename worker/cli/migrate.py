"""`sms migrate`: needs SMS_LEDGER_URL and nothing else."""

import typer

from worker.cli.parts import open_ledger
from worker.config import load_settings
from worker.ledger import schema


def migrate() -> None:
    """Brings the ledger up to date.

    Makes the tables of an empty ledger, and changes those of an older version. Doing it again changes nothing.

    \b
    Example:
      SMS_LEDGER_URL=sqlite:////var/lib/sms/ledger.db sms migrate
    """
    engine = open_ledger(load_settings("ledger"))
    before = schema.version(engine)
    schema.migrate(engine)
    after = schema.version(engine)
    engine.dispose()
    if before == after:
        typer.echo(f"the ledger is at version {after} already")
    else:
        typer.echo(f"the ledger went from {f'version {before}' if before else 'empty'} to version {after}")

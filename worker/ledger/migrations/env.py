"""Run by Alembic with the connection that `worker.ledger.schema` hands it."""

from alembic import context

from worker.ledger.tables import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata)
with context.begin_transaction():
    context.run_migrations()

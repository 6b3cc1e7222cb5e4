"""The schema: the migrations make the same as the tables say, on both databases."""

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Engine, text

from worker.ledger import schema
from worker.ledger import tables as t
from worker.ledger.engine import open_engine, reading


def test_the_migrated_schema_is_the_one_that_the_tables_describe(engine: Engine) -> None:
    with engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), t.metadata) == []


def test_migrating_twice_changes_nothing(engine: Engine) -> None:
    before = schema.version(engine)
    schema.migrate(engine)
    assert schema.version(engine) == before == schema.wanted_version()


def test_an_empty_ledger_asks_to_be_migrated(tmp_path) -> None:
    engine = open_engine(f"sqlite:///{tmp_path / 'new.db'}")
    with pytest.raises(schema.WrongSchema, match="run `sms migrate`"):
        schema.check(engine)


def test_an_old_ledger_names_its_version_and_the_one_needed(engine: Engine) -> None:
    with engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '0000'"))
    with pytest.raises(schema.WrongSchema, match=r"at version 0000, this program needs .*`sms migrate`"):
        schema.check(engine)


def test_reading_takes_no_turn_among_those_who_write(ledger_url: str) -> None:
    writer, reader = open_engine(ledger_url), open_engine(ledger_url)
    with writer.begin() as writing:
        writing.execute(text("INSERT INTO refused VALUES ('m', '[]', '{}', '2026-11-22 04:00:00')"))
        with reading(reader) as connection:
            assert connection.execute(text("SELECT count(*) FROM refused")).scalar_one() == 0
    writer.dispose()
    reader.dispose()


def test_what_changes_all_the_time_is_vacuumed_before_it_piles_up(postgres_url: str) -> None:
    engine = open_engine(postgres_url)
    with reading(engine) as connection:
        query = text("SELECT relname FROM pg_class WHERE 'autovacuum_vacuum_scale_factor=0.02' = ANY (reloptions)")
        assert set(connection.execute(query).scalars()) == {"submissions", "pushes"}
    engine.dispose()

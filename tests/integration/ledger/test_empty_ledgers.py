"""The ledger on PostgreSQL that one test leaves to the next."""

import pytest
from empty_ledgers import EmptyLedgers
from sqlalchemy import select, text
from sqlalchemy.exc import DBAPIError

from worker.ledger import tables as t
from worker.ledger.engine import open_engine, reading

ADD = text(
    "INSERT INTO audiences (name, source, header, mobile_column, ready, good, repeats, refused, created_at, created_by)"
    " VALUES ('a', 'a.csv', '[]', 'mobile', true, 0, 0, 0, now(), 'test') RETURNING id"
)


def run(url: str, *statements: str) -> None:
    engine = open_engine(url)
    with engine.begin() as connection:
        for statement in statements:
            connection.execute(text(statement))
    engine.dispose()


def test_the_next_test_finds_nothing_of_the_last_but_what_the_migrations_put_there(empty_ledgers: EmptyLedgers) -> None:
    with empty_ledgers.ledger_url() as first:
        run(first, "DELETE FROM marks", ADD.text)
    with empty_ledgers.ledger_url() as second:
        engine = open_engine(second)
        with engine.begin() as connection:
            assert not connection.execute(select(t.audiences)).all()
            assert connection.execute(select(t.marks)).all()
            assert connection.execute(ADD).scalar_one() == 1, "the numbers begin anew"
        engine.dispose()
    assert first != second


@pytest.mark.parametrize(
    "change",
    [
        "ALTER TABLE messages ADD COLUMN another text",
        "CREATE TABLE another (no int)",
        "DROP VIEW recipient_status CASCADE",
        "GRANT SELECT ON messages TO PUBLIC",
        "UPDATE alembic_version SET version_num = '0000'",
        "CREATE FUNCTION another() RETURNS int LANGUAGE sql AS 'SELECT 1'",
    ],
)
def test_a_ledger_whose_form_was_changed_is_dropped(empty_ledgers: EmptyLedgers, change: str) -> None:
    with empty_ledgers.ledger_url() as url:
        run(url, change)
    engine = open_engine(url)
    with pytest.raises(DBAPIError, match="does not exist"), reading(engine):
        pass
    engine.dispose()

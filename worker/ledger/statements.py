"""What the two databases spell in their own ways."""

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from itertools import islice
from typing import TypeVar

from sqlalchemy import BindParameter, Column, ColumnElement, Connection, String, Table, Update, literal, select, update
from sqlalchemy.dialects import postgresql, sqlite

T = TypeVar("T")

ROWS = 1000
"""Rows or values in one statement: few round trips, and below the limits on bound values of both databases."""


def literally(text: str) -> BindParameter[str]:
    """The text as part of the statement: SQLite takes a partial index only where its condition is there, word for word."""
    return literal(str(text), String, literal_execute=True)


def insert_new(
    connection: Connection, table: Table, *, earliest: str | None = None, also: Sequence[str] = ()
) -> postgresql.Insert | sqlite.Insert:
    """An INSERT that leaves out the rows that are there already.

    With `earliest`, a row that is there takes that column and those in `also` from the new one, if that is earlier.
    """
    insert: postgresql.Insert | sqlite.Insert = (
        postgresql.insert(table) if connection.dialect.name == "postgresql" else sqlite.insert(table)
    )
    if earliest is None:
        return insert.on_conflict_do_nothing()
    return insert.on_conflict_do_update(
        index_elements=list(table.primary_key),
        set_={name: insert.excluded[name] for name in (earliest, *also)},
        where=insert.excluded[earliest] < table.c[earliest],
    )


def chunks(items: Iterable[T], size: int = ROWS) -> Iterator[Sequence[T]]:
    """The items in lists of at most `size`."""
    iterator = iter(items)
    while chunk := list(islice(iterator, size)):
        yield chunk


def oldest(
    key: Column[int], column: Column[datetime], until: datetime, most: int, condition: ColumnElement[bool]
) -> Update:
    """An UPDATE of the oldest rows, by this column and up to that time, that fulfil the condition and nobody else is at.

    In a WITH, which runs once: PostgreSQL may run a subquery for each row of the table, and then changes more than `most`.
    """
    rows = select(key).where(condition, column <= until).order_by(column).limit(most).with_for_update(skip_locked=True)
    return update(key.table).where(key.in_(select(rows.cte("oldest"))), condition)

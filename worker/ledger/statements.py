"""What the two databases spell in their own ways."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import TypeVar

from sqlalchemy import BindParameter, Connection, Table, literal
from sqlalchemy.dialects import postgresql, sqlite

T = TypeVar("T")

ROWS = 1000
"""Rows or values in one statement: few round trips, and below the limits on bound values of both databases."""


def literally(text: str) -> BindParameter[str]:
    """The text as part of the statement: SQLite takes a partial index only where its condition is there, word for word."""
    return literal(text, literal_execute=True)


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

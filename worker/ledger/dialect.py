"""What the two databases spell in their own ways."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from functools import cache
from itertools import islice
from typing import Any, TypeVar

from sqlalchemy import (
    JSON,
    BindParameter,
    Column,
    ColumnElement,
    Connection,
    Insert,
    Row,
    String,
    Table,
    TableValuedAlias,
    Text,
    Update,
    any_,
    bindparam,
    func,
    literal,
    select,
    tuple_,
    update,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.sql.dml import ReturningInsert

T = TypeVar("T")

ROWS = 1000
"""Rows or values in one statement: few round trips, and below the limits on bound values of both databases."""


def literally(text: str) -> BindParameter[str]:
    """The text as part of the statement: SQLite takes a partial index only where its condition is there, word for word."""
    return literal(str(text), String, literal_execute=True)


def insert_new(
    connection: Connection, table: Table, *, earliest: str | None = None, also: tuple[str, ...] = ()
) -> postgresql.Insert | sqlite.Insert:
    """An INSERT that leaves out the rows that are there already.

    With `earliest`, a row that is there takes that column and those in `also` from the new one, if that is earlier; of two that
    are as early the one stays whose `also` are less, so that it does not matter which came first.
    """
    return _insert_new(connection.dialect.name, table, earliest, also)


# Built once each: to build such a statement anew costs as much as to run it.
@cache
def _insert_new(
    dialect: str, table: Table, earliest: str | None, also: tuple[str, ...]
) -> postgresql.Insert | sqlite.Insert:
    insert: postgresql.Insert | sqlite.Insert = (
        postgresql.insert(table) if dialect == "postgresql" else sqlite.insert(table)
    )
    if earliest is None:
        return insert.on_conflict_do_nothing()
    return insert.on_conflict_do_update(
        index_elements=list(table.primary_key),
        set_={name: insert.excluded[name] for name in (earliest, *also)},
        where=tuple_(*(_ordered(insert.excluded[name], dialect) for name in (earliest, *also)))
        < tuple_(*(_ordered(table.c[name], dialect) for name in (earliest, *also))),
    )


def _ordered(column: ColumnElement[Any], dialect: str) -> ColumnElement[Any]:
    """The column in the order that SQLite and Python have for it: PostgreSQL's for text is that of some language."""
    return column.collate("C") if dialect == "postgresql" and isinstance(column.type, String) else column


def add_rows(  # noqa: PLR0913 - the parts of one statement
    connection: Connection,
    insert: Insert,
    same: Mapping[str, Any],
    varying: tuple[str, ...],
    rows: Iterable[tuple[Any, ...]],
    *,
    returning: tuple[Column[Any], ...] = (),
    lines: tuple[str, ...] = (),
) -> list[Row[*tuple[Any, ...]]]:
    """Adds the rows, in their order: they differ in the columns `varying` and have the others from `same`.

    `insert` is one that is kept, such as `insert_new` returns: what is built from it is kept with it. Columns in `lines` have
    texts without a line feed, such as JSON: a psycopg that need not escape the quotes in them takes half the time.
    """
    added: list[Row[*tuple[Any, ...]]] = []
    arrays = connection.dialect.name == "postgresql"
    for chunk in chunks(rows):
        if arrays:
            values: dict[str, Any] = dict(zip(varying, map(list, zip(*chunk, strict=True)), strict=True))
            values |= {name: "\n".join(values[name]) for name in lines}
            made = connection.execute(_of_arrays(insert, tuple(same), varying, returning, lines), {**same, **values})
        else:
            each = [{**same, **dict(zip(varying, row, strict=True))} for row in chunk]
            made = connection.execute(insert.returning(*returning) if returning else insert, each)
        if returning:
            added += made.all()
    return added


# PostgreSQL takes a thousand rows as one of arrays in a third of the time that it takes for a thousand statements; and one
# text for any number of rows is prepared once, where one text for each number fills the caches with megabytes of question marks.
@cache
def _of_arrays(
    insert: Insert,
    same: tuple[str, ...],
    varying: tuple[str, ...],
    returning: tuple[Column[Any], ...],
    lines: tuple[str, ...],
) -> ReturningInsert[Any] | Insert:
    columns = insert.table.c
    arrays = func.unnest(
        *(
            func.string_to_array(bindparam(name, type_=Text), "\n")
            if name in lines
            else bindparam(name, type_=postgresql.ARRAY(columns[name].type))
            for name in varying
        )
    )
    rows = arrays.table_valued(*varying).render_derived()
    values = select(*(bindparam(name, type_=columns[name].type) for name in same), *(rows.c[name] for name in varying))
    statement = insert.from_select([*same, *varying], values)
    return statement.returning(*returning) if returning else statement


def among(dialect: str, column: ColumnElement[Any], name: str) -> ColumnElement[bool]:
    """Whether the column is one of the list of values that is given under that name: one text, however many they are."""
    if dialect == "postgresql":
        return column == any_(bindparam(name, type_=postgresql.ARRAY(column.type)))
    return column.in_(select(listed(dialect, column, name).c.value))


def listed(dialect: str, column: ColumnElement[Any], name: str) -> TableValuedAlias:
    """The list of values, of the column's type, that is given under that name as a table: its column is `value`."""
    if dialect == "postgresql":
        values = func.unnest(bindparam(name, type_=postgresql.ARRAY(column.type)))
        return values.table_valued("value").render_derived()
    return func.json_each(bindparam(name, type_=JSON)).table_valued("value")


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

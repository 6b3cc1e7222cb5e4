"""SQL that the two databases spell in different ways."""

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
"""The rows or values in one statement: few round trips, and below the limits on bound values of both databases."""


def inlined(text: str) -> BindParameter[str]:
    """Returns the text as a part of the statement. SQLite uses a partial index only where its condition stands in the
    statement word for word.
    """
    return literal(str(text), String, literal_execute=True)


def insert_new(
    connection: Connection, table: Table, *, earliest: str | None = None, also: tuple[str, ...] = ()
) -> postgresql.Insert | sqlite.Insert:
    """Returns an INSERT that skips rows that exist already.

    With `earliest`, an existing row takes that column and those in `also` from the new row, if that is earlier. Of two
    rows that are as early, the one with the lesser `also` stays, so the result does not depend on which came first.
    """
    return _insert_new(connection.dialect.name, table, earliest, also)


# Each statement is built once: building it anew costs as much as running it.
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
    """Returns the column in the order of SQLite and Python. PostgreSQL orders text by some language."""
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
    """Adds the rows, in their order. They differ in the columns `varying`, and have the others from `same`. Returns
    what `returning` asks for.

    `insert` has to be one that is kept, such as `insert_new` returns: the statement that is built from it is cached.
    Columns in `lines` have texts without a line feed, such as JSON. psycopg need not escape their quotes then, and
    takes half the time.
    """
    added: list[Row[*tuple[Any, ...]]] = []
    arrays = connection.dialect.name == "postgresql"
    for chunk in chunks(rows):
        if arrays:
            values: dict[str, Any] = dict(zip(varying, map(list, zip(*chunk, strict=True)), strict=True))
            values |= {name: "\n".join(values[name]) for name in lines}
            result = connection.execute(_of_arrays(insert, tuple(same), varying, returning, lines), {**same, **values})
        else:
            bound = [{**same, **dict(zip(varying, row, strict=True))} for row in chunk]
            result = connection.execute(insert.returning(*returning) if returning else insert, bound)
        if returning:
            added += result.all()
    return added


# PostgreSQL takes a thousand rows as arrays in a third of the time that a thousand statements take. One statement for
# any number of rows is prepared once. One statement for each number would fill the caches with megabytes of question
# marks.
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


def is_among(dialect: str, column: ColumnElement[Any], name: str) -> ColumnElement[bool]:
    """Returns whether the column is one of a list of values, which is bound under that name. The statement is the same
    however many they are.
    """
    if dialect == "postgresql":
        return column == any_(bindparam(name, type_=postgresql.ARRAY(column.type)))
    return column.in_(select(bound_values(dialect, column, name).c.value))


def bound_values(dialect: str, column: ColumnElement[Any], name: str) -> TableValuedAlias:
    """Returns a list of values of the column's type, which is bound under that name, as a table with the column
    `value`.
    """
    if dialect == "postgresql":
        values = func.unnest(bindparam(name, type_=postgresql.ARRAY(column.type)))
        return values.table_valued("value").render_derived()
    return func.json_each(bindparam(name, type_=JSON)).table_valued("value")


def chunks(items: Iterable[T], size: int = ROWS) -> Iterator[Sequence[T]]:
    """Yields the items in lists of at most `size`."""
    iterator = iter(items)
    while chunk := list(islice(iterator, size)):
        yield chunk


def oldest(
    key: Column[int], column: Column[datetime], until: datetime, most: int, condition: ColumnElement[bool]
) -> Update:
    """Returns an UPDATE of at most `most` of the oldest rows, by this column and up to that time, that meet the
    condition. It skips rows that others have locked.

    The rows are chosen in a WITH, which runs once. PostgreSQL may run a subquery for each row of the table, and would
    then change more than `most`.
    """
    rows = select(key).where(condition, column <= until).order_by(column).limit(most).with_for_update(skip_locked=True)
    return update(key.table).where(key.in_(select(rows.cte("oldest"))), condition)

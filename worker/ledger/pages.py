"""Long lists, read a page at a time: an export of a million rows takes no more memory than one of a thousand."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from sqlalchemy import ColumnElement, Connection, Select

from worker.ledger.dialect import ROWS


def paged(
    connection: Connection, query: Select[Any], after: Callable[[Any], ColumnElement[bool]]
) -> Iterator[Sequence[Any]]:
    """Yields what the query finds in pages of ROWS. `after` gives the condition for what comes after a row."""
    query = query.limit(ROWS)
    page = connection.execute(query).all()
    while page:
        yield page
        page = connection.execute(query.where(after(page[-1]))).all() if len(page) == ROWS else []

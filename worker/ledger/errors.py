"""What an error of the ledger means: it is away, a row is locked, or the rows themselves are at fault."""

import re
from collections.abc import Callable
from typing import ParamSpec, TypeVar

from sqlalchemy.exc import DataError, DBAPIError, OperationalError, StatementError
from sqlalchemy.exc import TimeoutError as NoConnectionFree

from worker.ledger.engine import NO_LOCK
from worker.runtime.retry import retried_while

P = ParamSpec("P")
R = TypeVar("R")

SQLITE_ERROR = 1
"""sqlite3's code for a statement that is wrong: no such table, a syntax error."""
LIMIT_EXCEEDED = "54"
"""PostgreSQL's class of statements that are too large or too complex, and will be so again. psycopg counts them as
operational.
"""


ROW_FAULT_SQLSTATES = (LIMIT_EXCEEDED, "23502", "23514")
ROW_FAULT_SQLITE_NAMES = ("SQLITE_CONSTRAINT_NOTNULL", "SQLITE_CONSTRAINT_CHECK", "SQLITE_TOOBIG", "SQLITE_MISMATCH")
"""A row is too large, lacks a value, or breaks a CHECK."""
DUPLICATE, DUPLICATE_SQLITE = "23505", re.compile(r"UNIQUE constraint failed: (\w+)\.")
ROW_FAULT_TABLE = "recipients"
"""A duplicate in this table is the fault of one message. In other tables it is not: another msgId is taken the next
time.
"""


def is_away(error: Exception) -> bool:
    """Returns whether the ledger could not be reached or could not serve, so that the same may succeed later."""
    if isinstance(error, OperationalError):
        wrong = getattr(error.orig, "sqlite_errorcode", None) == SQLITE_ERROR
        return not wrong and not str(getattr(error.orig, "sqlstate", None)).startswith(LIMIT_EXCEEDED)
    return isinstance(error, NoConnectionFree) or (isinstance(error, DBAPIError) and error.connection_invalidated)


def is_locked(error: DBAPIError) -> bool:
    """Returns whether another transaction held a lock for too long. The engine needs a `lock_wait` for that."""
    return getattr(error.orig, "sqlstate", None) == NO_LOCK


def is_row_fault(error: Exception) -> bool:
    """Returns whether the error is the fault of the rows: the same rows would fail again, while others would not."""
    if isinstance(error, DBAPIError):
        codes = getattr(error.orig, "sqlstate", None), getattr(error.orig, "sqlite_errorname", None)
        own = (
            isinstance(error, DataError)
            or str(codes[0]).startswith(ROW_FAULT_SQLSTATES)
            or codes[1] in ROW_FAULT_SQLITE_NAMES
        )
        return own or _duplicate_in(error.orig) == ROW_FAULT_TABLE
    cause = error.orig if isinstance(error, StatementError) else error
    return isinstance(cause, ValueError | TypeError | ArithmeticError | RecursionError)


def _duplicate_in(error: object) -> str | None:
    """Returns the table whose unique constraint was violated, if one was."""
    if getattr(error, "sqlstate", None) == DUPLICATE:
        return getattr(getattr(error, "diag", None), "table_name", None)
    match = DUPLICATE_SQLITE.match(str(error))
    return match[1] if match else None


def retried(run: Callable[P, R], pause: Callable[[float], bool | None]) -> Callable[P, R]:
    """Returns `run` in a form that calls it again for as long as the ledger is away. `pause` is as in
    `worker.runtime.retry`.
    """
    return retried_while(run, pause, is_away=is_away, store="the ledger")

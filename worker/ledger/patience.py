"""While the ledger is away (or what else is told): whoever wants something of it waits and tries again, rather than fail.

A worker's threads that wait take no further tasks, and each task has a thread at most: so a worker stops taking tasks by
itself, and goes on by itself. What is tried again must be a conditional change: the answer to a commit may have been lost.
"""

import logging
import re
from collections.abc import Callable
from typing import ParamSpec, TypeVar

from sqlalchemy.exc import DataError, DBAPIError, OperationalError, StatementError
from sqlalchemy.exc import TimeoutError as NoConnectionFree

from worker.ledger.engine import NO_LOCK

log = logging.getLogger(__name__)

P = ParamSpec("P")
R = TypeVar("R")

PAUSES = (0.1, 0.2, 0.5, 1.0, 2.0)
SQLITE_ERROR = 1
"""sqlite3's code for a statement that is wrong: no such table, a syntax error."""
LIMIT_EXCEEDED = "54"
"""PostgreSQL's class of what is too large or too complex, and will be so again. psycopg takes it for operational."""


OWN_STATES = (LIMIT_EXCEEDED, "23502", "23514")
OWN_NAMES = ("SQLITE_CONSTRAINT_NOTNULL", "SQLITE_CONSTRAINT_CHECK", "SQLITE_TOOBIG", "SQLITE_MISMATCH")
"""A row that is too large, has no value where there must be one, or breaks a CHECK."""
TWICE, TWICE_SQLITE = "23505", re.compile(r"UNIQUE constraint failed: (\w+)\.")
OWN_TABLE = "recipients"
"""What is twice there is of one message. In other tables it is not: a msgId that is taken is another the next time."""


def is_away(error: Exception) -> bool:
    """Whether the ledger could not be reached or could not serve, so that the same may succeed later."""
    if isinstance(error, OperationalError):
        wrong = getattr(error.orig, "sqlite_errorcode", None) == SQLITE_ERROR
        return not wrong and not str(getattr(error.orig, "sqlstate", None)).startswith(LIMIT_EXCEEDED)
    return isinstance(error, NoConnectionFree) or (isinstance(error, DBAPIError) and error.connection_invalidated)


def is_locked(error: DBAPIError) -> bool:
    """Whether somebody held a lock for too long; where its engine has a `lock_wait`."""
    return getattr(error.orig, "sqlstate", None) == NO_LOCK


def is_its_own(error: Exception) -> bool:
    """Whether the error is the fault of what was written, so that the same rows would fail again while others would not."""
    if isinstance(error, DBAPIError):
        codes = getattr(error.orig, "sqlstate", None), getattr(error.orig, "sqlite_errorname", None)
        own = isinstance(error, DataError) or str(codes[0]).startswith(OWN_STATES) or codes[1] in OWN_NAMES
        return own or _twice_in(error.orig) == OWN_TABLE
    cause = error.orig if isinstance(error, StatementError) else error
    return isinstance(cause, ValueError | TypeError | ArithmeticError | RecursionError)


def _twice_in(error: object) -> str | None:
    """The table in which something would be twice that may be there once."""
    if getattr(error, "sqlstate", None) == TWICE:
        return getattr(getattr(error, "diag", None), "table_name", None)
    found = TWICE_SQLITE.match(str(error))
    return found[1] if found else None


def patient(
    run: Callable[P, R],
    pause: Callable[[float], bool | None],
    *,
    away: Callable[[Exception], bool] = is_away,
    whom: str = "the ledger",
) -> Callable[P, R]:
    """`run`, that is called again for as long as the ledger is away, or whom else the errors tell that `away` knows.

    `pause` waits so many seconds; where it answers True (as `Event.wait` does) it is time to give up, and the error is raised.
    """

    def run_in_the_end(*args: P.args, **kwargs: P.kwargs) -> R:
        tries = 0
        while True:
            try:
                return run(*args, **kwargs)
            except Exception as error:
                if not away(error):
                    raise
                if not tries:
                    log.warning("%s is away, tasks wait for it: %s", whom, error)
                if pause(PAUSES[min(tries, len(PAUSES) - 1)]):
                    raise
                tries += 1

    return run_in_the_end

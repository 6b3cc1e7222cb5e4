"""Errors that a command expects and that are not faults of this program, in words, with what to do."""

from typing import Any

from alembic.util import CommandError
from redis.exceptions import AuthenticationError, NoPermissionError, RedisError
from sqlalchemy.exc import OperationalError

from worker.cli.output import clean
from worker.client import Full, NotPermitted, Refused, Unavailable
from worker.config import ConfigError
from worker.devstack.errors import StackError
from worker.domain.campaigns.audience import AudienceError
from worker.ledger.engine import NO_LOCK, NOT_PERMITTED
from worker.ledger.schema import LedgerInUse, WrongSchema


class Failed(Exception):
    """A command could not do what it was asked to do. The text says why, and what to do."""


EXPECTED = (
    Failed,
    ConfigError,
    AudienceError,
    Refused,
    WrongSchema,
    LedgerInUse,
    StackError,
    Unavailable,
    RedisError,
    OperationalError,
    CommandError,
)


_LEDGER_REMEDIES: dict[str | None, str] = {
    NOT_PERMITTED: "Name a user that may do this in SMS_LEDGER_URL:"
    " that of ledger_url_owner for `sms migrate`, of ledger_url_worker for the rest.",
    "SQLITE_BUSY": "Another process writes to the file: try again when it is done.",
    NO_LOCK: "Another session has locked a table: look for it in pg_stat_activity, and try again when it is over.",
}
"""What to do, by the SQLSTATE of PostgreSQL or the error of SQLite."""


def in_words(error: Any) -> str:
    """An expected error in words. Untrusted text in it is safe for a terminal."""
    return clean(_sentence(error))


def _sentence(error: Any) -> str:
    match error:
        case Unavailable() if not isinstance(error, NotPermitted | Full) and not error.perhaps:
            return f"{error}\nStart Redis or correct SMS_REDIS_URL; `sms doctor` says more."
        case RedisError():
            refused = isinstance(error, AuthenticationError | NoPermissionError)
            remedy = "Correct the user and the password in" if refused else "Start Redis or correct"
            return f"Redis cannot be used: {error}\n{remedy} SMS_REDIS_URL; `sms doctor` says more."
        case OperationalError():
            code = getattr(error.orig, "sqlstate", None) or getattr(error.orig, "sqlite_errorname", None)
            remedy = _LEDGER_REMEDIES.get(code, "Start the database or correct SMS_LEDGER_URL.")
            return f"the ledger cannot be used: {error.orig}\n{remedy}"
        case CommandError():
            return f"the ledger cannot be migrated: {error}\nThe ledger may be newer than this program: install the newer version."
    return str(error)

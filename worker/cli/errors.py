"""What may go wrong in a command and is no fault of this program, in words, with what to do."""

from typing import Any

from alembic.util import CommandError
from redis.exceptions import AuthenticationError, NoPermissionError, RedisError
from sqlalchemy.exc import OperationalError

from worker.cli.output import clean
from worker.client import Full, NotPermitted, Refused, Unavailable
from worker.config import ConfigError
from worker.devstack.errors import StackError
from worker.domain.campaigns.audience import NoAudience
from worker.ledger.engine import NO_LOCK, NOT_PERMITTED
from worker.ledger.schema import LedgerInUse, WrongSchema


class Failed(Exception):
    """A command could not do what it was asked for; the text says why and what to do."""


EXPECTED = (
    Failed,
    ConfigError,
    NoAudience,
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
    NOT_PERMITTED: "Grant its role what it lacks, or name another one in SMS_LEDGER_URL.",
    NO_LOCK: "Another session has locked a table: look into pg_stat_activity for it, and try again when it is over.",
}
"""What to do, by what PostgreSQL answered (SQLSTATE)."""


def in_words(error: Any) -> str:
    """What an expected error says to people, whoever wrote what it quotes."""
    return clean(_said(error))


def _said(error: Any) -> str:
    match error:
        case Unavailable() if not isinstance(error, NotPermitted | Full) and not error.perhaps:
            return f"{error}\nStart Redis or correct SMS_REDIS_URL; `sms doctor` says more."
        case RedisError():
            refused = isinstance(error, AuthenticationError | NoPermissionError)
            remedy = "Correct the user and the password in" if refused else "Start Redis or correct"
            return f"Redis cannot be used: {error}\n{remedy} SMS_REDIS_URL; `sms doctor` says more."
        case OperationalError():
            remedy = _LEDGER_REMEDIES.get(
                getattr(error.orig, "sqlstate", None), "Start the database or correct SMS_LEDGER_URL."
            )
            return f"the ledger cannot be used: {error.orig}\n{remedy}"
        case CommandError():
            return (
                f"the ledger cannot be migrated: {error}\nIt may be of a newer version than this program: install that."
            )
    return str(error)

"""Removes secrets, mobiles and texts from each log record as it is made, before any handler sees it.

It also keeps each record on one line. All loggers of the process make their records by one factory, also those of
Celery, gunicorn and SQLAlchemy. The filter recognises secrets and mobiles, but not the texts of messages: PAYLOADS
lists the loggers that write them.
"""

import logging
import re
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any
from urllib.parse import quote, quote_plus, unquote, urlsplit

from worker.config import Settings
from worker.domain.escape import escaped
from worker.domain.mobile import mask

MASK = "***"
SHORTEST = 4
"""A shorter secret is not hidden: it would be hidden within ordinary words too, and they would reveal it."""

PAYLOADS = re.compile(
    r"(celery\.(worker|app\.trace|pool|concurrency)|kombu|amqp|billiard|multiprocessing|sqlalchemy|psycopg|urllib3|redis)(\.|$)"
)
"""Loggers that write tasks, rows or request lines at DEBUG. Such a record keeps its message without its arguments."""
WRITTEN_OUT = ("kombu.connection", "kombu.channel")
"""Loggers whose messages have the payload in them already, without arguments."""
_BODY = re.compile(r"\b(message body|body:).*", re.DOTALL | re.IGNORECASE)
"""The form in which Celery's consumer logs a task that it cannot run. worker/redis_store/foreign.py catches these tasks
before."""

_QUERY = re.compile(r"\?[\w.%\[\]-]+=[^\s'\"<>)]*")
_PUSH = re.compile(r"\b((?:may-)?push)/[^\s'\"]*")
_MOBILE = re.compile(
    # An id may have such digits in it; it is not changed.
    r"\b[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\b"
    # Digits before a mobile make it part of another number, unless they are of an escape, as in %20 and \u673a.
    r"|(?:(?<!\d)|(?<=%[\da-fA-F]{2})|(?<=\\u[\da-fA-F]{4})|(?<=\\x[\da-fA-F]{2}))"
    r"((?:\+|00)?86[ -]?)?(1[3-9]\d[ -]?\d{4}[ -]?\d{4})(?!\d)"
)

_secrets: set[str] = set()
_known: Callable[[str], str] = str
_plain = logging.Formatter()


def install(settings: Settings | None = None) -> None:
    """Filters every record of this process from now on. It hides the secrets of `settings` and of earlier calls."""
    global _known  # noqa: PLW0603 - the process has one record factory, and so one set of secrets
    if settings is not None:
        _secrets.update(_secrets_of(settings))
    if _secrets:
        # The longest first, for a secret may be part of another.
        pattern = re.compile("|".join(map(re.escape, sorted(_secrets, key=len, reverse=True))))
        _known = partial(pattern.sub, MASK)
    if logging.getLogRecordFactory() is not _record:
        logging.setLogRecordFactory(_record)


def cleaned(text: str) -> str:
    """The text without secrets and URL queries, with masked mobiles."""
    return _MOBILE.sub(_masked, _QUERY.sub(f"?{MASK}", _PUSH.sub(r"\1/...", _known(text))))


def _record(*args: Any, **kwargs: Any) -> logging.LogRecord:
    record = logging.LogRecord(*args, **kwargs)
    try:
        text, exception = escaped(cleaned(_text(record)).rstrip("\n")), _exception(record)
        stack = record.stack_info and _indented(record.stack_info)
    except Exception as error:  # noqa: BLE001 - logging must not fail, and a text that cannot be read is not shown
        text, exception, stack = f"a record that cannot be shown ({type(error).__name__})", None, None
        record.exc_info = None
    record.msg, record.args, record.exc_text, record.stack_info = text, (), exception, stack
    return record


def _text(record: logging.LogRecord) -> str:
    if record.levelno <= logging.DEBUG and PAYLOADS.match(record.name):
        return f"{record.name} (its message is left out)" if record.name in WRITTEN_OUT else _without_arguments(record)
    try:
        text = record.getMessage()
    except Exception:  # noqa: BLE001 - logging itself would print the arguments
        return f"{record.msg} (its arguments do not fit)"
    return _BODY.sub("(left out)", text) if record.name.startswith("celery.worker.consumer") else text


def _without_arguments(record: logging.LogRecord) -> str:
    return re.sub(r"%(\(\w+\))?[-#0 +.\d]*[a-zA-Z]", "…", str(record.msg)) if record.args else str(record.msg)


def _exception(record: logging.LogRecord) -> str | None:
    # A formatter uses this text instead of making its own.
    return _indented(_plain.formatException(record.exc_info)) if record.exc_info and record.exc_info[0] else None


def _indented(trace: str) -> str:
    """The lines of a traceback, indented, so that none looks like the line of a record."""
    return "\n".join(f"  {escaped(line)}" for line in cleaned(trace).split("\n"))


def _masked(match: re.Match[str]) -> str:
    return mask(re.sub("[ -]", "", match[2])) if match[2] else match[0]


def _secrets_of(settings: Settings) -> Iterator[str]:
    """Each secret as the settings have it, URL-decoded, URL-encoded, and as a Python string shows it."""
    urls = [url.get_secret_value() for url in (settings.redis_url, settings.ledger_url) if url]
    secrets = [password for url in urls if (password := _password(url))]
    secrets += [account.password.get_secret_value() for account in settings.accounts.values()]
    secrets += [settings.password.get_secret_value()] if settings.password else []
    secrets += settings.push_tokens
    for secret in secrets:
        for written in (secret, unquote(secret), quote(secret, safe=""), quote_plus(secret), repr(secret)[1:-1]):
            if len(written) >= SHORTEST:
                yield written


def _password(url: str) -> str | None:
    try:
        return urlsplit(url).password
    except ValueError:
        return None

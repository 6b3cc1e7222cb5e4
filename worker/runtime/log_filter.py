"""What no log of ours may show is taken out of each record as it is made, and it stays on its line, before any handler sees it.

Every logger of the process makes its records by one factory, also Celery's, gunicorn's and SQLAlchemy's; so there is one place.
Secrets and mobiles are known by what they are. The text of a message is not: what carries texts is listed in PAYLOADS.
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

HIDDEN = "***"
SHORTEST = 4
"""A secret of fewer characters is not looked for: its place in ordinary words would tell it."""

PAYLOADS = re.compile(
    r"(celery\.(worker|app\.trace|pool|concurrency)|kombu|amqp|billiard|multiprocessing|sqlalchemy|psycopg|urllib3|redis)(\.|$)"
)
"""Loggers that write tasks, rows or request lines at DEBUG: of those records the words stay, and what is put into them is left out."""
WRITTEN_OUT = ("kombu.connection", "kombu.channel")
"""Loggers whose records have the payload in their words already."""
_BODY = re.compile(r"\b(message body|body:).*", re.DOTALL | re.IGNORECASE)
"""Celery's consumer shows so what it cannot do (worker/redis_store/foreign.py has it not get there)."""

_QUERY = re.compile(r"\?[\w.%\[\]-]+=[^\s'\"<>)]*")
_PUSH = re.compile(r"\b((?:may-)?push)/[^\s'\"]*")
_MOBILE = re.compile(
    # An id may have such digits in it; it stays.
    r"\b[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\b"
    # Digits before it are of another number, but for those of an escape, as in %20 and \u673a.
    r"|(?:(?<!\d)|(?<=%[\da-fA-F]{2})|(?<=\\u[\da-fA-F]{4})|(?<=\\x[\da-fA-F]{2}))"
    r"((?:\+|00)?86[ -]?)?(1[3-9]\d[ -]?\d{4}[ -]?\d{4})(?!\d)"
)

_secrets: set[str] = set()
_known: Callable[[str], str] = str
_plain = logging.Formatter()


def install(settings: Settings | None = None) -> None:
    """Has every record of this process filtered from now on, and these settings' secrets among what is hidden.

    It may be called again, with more settings.
    """
    global _known  # noqa: PLW0603 - the record factory is one for the process, and so is what it hides
    if settings is not None:
        _secrets.update(_secrets_of(settings))
    if _secrets:
        # The longest first: one may be a part of another.
        pattern = re.compile("|".join(map(re.escape, sorted(_secrets, key=len, reverse=True))))
        _known = partial(pattern.sub, HIDDEN)
    if logging.getLogRecordFactory() is not _record:
        logging.setLogRecordFactory(_record)


def cleaned(text: str) -> str:
    """The text without secrets and queries, its mobiles masked."""
    return _MOBILE.sub(_masked, _QUERY.sub(f"?{HIDDEN}", _PUSH.sub(r"\1/...", _known(text))))


def _record(*args: Any, **kwargs: Any) -> logging.LogRecord:
    record = logging.LogRecord(*args, **kwargs)
    try:
        text, exception = escaped(cleaned(_text(record)).rstrip("\n")), _exception(record)
        stack = record.stack_info and _indented(record.stack_info)
    except Exception as why:  # noqa: BLE001 - whoever logs must not fail by it, and what cannot be read is not shown
        text, exception, stack = f"a record that cannot be shown ({type(why).__name__})", None, None
        record.exc_info = None
    record.msg, record.args, record.exc_text, record.stack_info = text, (), exception, stack
    return record


def _text(record: logging.LogRecord) -> str:
    if record.levelno <= logging.DEBUG and PAYLOADS.match(record.name):
        return f"{record.name} (its words are left out)" if record.name in WRITTEN_OUT else _words(record)
    try:
        text = record.getMessage()
    except Exception:  # noqa: BLE001 - logging itself would print the arguments
        return f"{record.msg} (what is to be put into it does not fit)"
    return _BODY.sub("(left out)", text) if record.name.startswith("celery.worker.consumer") else text


def _words(record: logging.LogRecord) -> str:
    return re.sub(r"%(\(\w+\))?[-#0 +.\d]*[a-zA-Z]", "…", str(record.msg)) if record.args else str(record.msg)


def _exception(record: logging.LogRecord) -> str | None:
    # A formatter takes this text where it is there, and makes none of its own.
    return _indented(_plain.formatException(record.exc_info)) if record.exc_info and record.exc_info[0] else None


def _indented(trace: str) -> str:
    """Its lines begin as those of no record do."""
    return "\n".join(f"  {escaped(line)}" for line in cleaned(trace).split("\n"))


def _masked(found: re.Match[str]) -> str:
    return mask(re.sub("[ -]", "", found[2])) if found[2] else found[0]


def _secrets_of(settings: Settings) -> Iterator[str]:
    """Each as it is given, as it reads, and as an address writes it."""
    urls = [url.get_secret_value() for url in (settings.redis_url, settings.ledger_url) if url]
    given = [password for url in urls if (password := _password(url))]
    given += [account.password.get_secret_value() for account in settings.accounts.values()]
    given += [settings.password.get_secret_value()] if settings.password else []
    given += settings.push_tokens
    for secret in given:
        for written in (secret, unquote(secret), quote(secret, safe=""), quote_plus(secret), repr(secret)[1:-1]):
            if len(written) >= SHORTEST:
                yield written


def _password(url: str) -> str | None:
    try:
        return urlsplit(url).password
    except ValueError:
        return None

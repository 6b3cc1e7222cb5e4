"""Attacks with a stolen user of Redis or of PostgreSQL."""

from redis import Redis
from sqlalchemy.exc import DBAPIError

from attack.ledger_users import ATTEMPTS
from attack.redis_users import FORBIDDEN, FORBIDDEN_TO_ALL, is_refused
from attack.table import Result, counted
from worker.devstack.stack import Stack
from worker.ledger.engine import NOT_PERMITTED, open_engine, reading


def redis_users(stack: Stack) -> Result:
    tried = [(role, what) for role in ("producer", "callback", "beat", "exporter") for what in FORBIDDEN]
    tried += [("worker", what) for what in FORBIDDEN_TO_ALL]
    held = 0
    for role, what in tried:
        with Redis.from_url(stack.redis_url_of(role)) as redis:
            held += is_refused(redis, what)
    return counted(held, len(tried), "commands refused")


def ledger_users(stack: Stack) -> Result:
    if not stack.ledger_passwords:
        return Result(None, "SQLite has no users")
    held = sum(_is_refused(stack.ledger_url_of(role), statement) for role, statement in ATTEMPTS)
    return counted(held, len(ATTEMPTS), "statements refused")


def _is_refused(url: str, statement: str) -> bool:
    engine = open_engine(url)
    try:
        with reading(engine) as connection:
            connection.exec_driver_sql(statement)
    except DBAPIError as error:
        return getattr(error.orig, "sqlstate", None) == NOT_PERMITTED
    finally:
        engine.dispose()
    return False

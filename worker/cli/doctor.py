"""`sms doctor`: every check that can be made, whatever became of the others."""

from collections.abc import Iterator
from contextlib import closing
from dataclasses import asdict
from datetime import UTC, datetime

import typer
from redis.exceptions import AuthenticationError, NoPermissionError, RedisError
from sqlalchemy.exc import OperationalError

from worker.cli.errors import in_words
from worker.cli.options import known_accounts, open_ledger
from worker.cli.output import AsJson, clean, console, print_json, styled, table
from worker.config import ConfigError, Settings, load_settings, revealed
from worker.ledger.engine import LOCK_WAIT, reading
from worker.ledger.errors import is_locked
from worker.maintenance import checks
from worker.maintenance.checks import LOOK, OK, WRONG, Check
from worker.redis_store.connect import open_redis


def doctor(as_json: AsJson = False) -> None:
    """Checks everything that has to be there, and says what to do where it is not.

    Looks at the settings, Redis, the ledger, what waits in them, and whether the gateway's address can be reached.
    Nothing is sent and nothing changed; to see whether the ledger can be written, a row is written as it is. Exit code 1 if anything is wrong; what is to be looked at does not count.

    \b
    Example:
      sms doctor
      sms doctor --json
    """
    found = list(_all(datetime.now(UTC)))
    if as_json:
        print_json([asdict(one) for one in found])
    else:
        listed = table("check", "state", "what was found, and what to do", fixed={"check": 22, "state": 5})
        for one in found:
            listed.add_row(one.name, styled(one.state), clean("\n→ ".join(filter(None, (one.found, one.remedy)))))
        console().print(listed)
    raise typer.Exit(1 if any(one.state == WRONG for one in found) else 0)


def _all(now: datetime) -> Iterator[Check]:
    yield checks.settings_check()
    try:
        settings = load_settings()
    except ConfigError:
        # It is not that one is missing: one is wrong, and the line above says which.
        return
    if settings.redis_url:
        yield from _redis(settings)
    if settings.ledger_url:
        yield from _ledger(settings, now)
    yield checks.gateway_check(settings)


def _redis(settings: Settings) -> Iterator[Check]:
    try:
        with closing(open_redis(revealed(settings.redis_url), patience_seconds=5)) as redis:
            yield from checks.redis_checks(redis)
            yield checks.pushes_in_redis_check(redis)
            engine = open_ledger(settings) if settings.ledger_url else None
            yield checks.clock_check(redis, engine, lambda: datetime.now(UTC))
            if engine is not None:
                engine.dispose()
    except AuthenticationError as why:
        yield Check("Redis", WRONG, str(why), "correct the user and the password in SMS_REDIS_URL")
    except NoPermissionError as why:
        yield Check(
            "Redis", WRONG, str(why), "connect as the user worker: that of SMS_REDIS_URL may not look at all of it"
        )
    except RedisError as why:
        yield Check("Redis", WRONG, str(why), "start Redis, or correct SMS_REDIS_URL")


def _ledger(settings: Settings, now: datetime) -> Iterator[Check]:
    try:
        engine = open_ledger(settings, lock_wait=LOCK_WAIT)
        version = checks.schema_check(engine)
        yield version
        if version.state == OK:
            yield checks.write_check(engine)
            with reading(engine) as connection:
                yield from checks.superuser_check(connection)
                known = known_accounts(settings)
                yield from checks.ledger_checks(connection, now, known)
                yield checks.accounts_check(connection, known)
                yield checks.pushes_check(connection, settings.push_hourly_mib, now)
                yield checks.optouts_check(connection, now)
        engine.dispose()
    except OperationalError as why:
        if is_locked(why):
            yield Check("ledger: questions", LOOK, "not all could be asked", in_words(why))
        else:
            yield Check("ledger", WRONG, "cannot be used", in_words(why))

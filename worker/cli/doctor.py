"""`sms doctor`: makes every check that can be made, whatever became of the others."""

from collections.abc import Iterator
from datetime import UTC, datetime

import typer
from redis.exceptions import AuthenticationError, NoPermissionError, RedisError
from sqlalchemy.exc import OperationalError

from worker.cli.connections import known_accounts, open_ledger, redis_of
from worker.cli.errors import in_words
from worker.cli.output import AsJson, clean, console, print_json, styled, table
from worker.config import ConfigError, Settings, load_settings
from worker.ledger.engine import LOCK_WAIT, reading
from worker.ledger.errors import is_locked
from worker.maintenance import checks
from worker.maintenance.checks import LOOK, OK, WRONG, Check


def doctor(as_json: AsJson = False) -> None:
    """Checks everything that has to be there, and says what to do where it is not.

    It looks at the settings, at Redis and the ledger, at what waits in them, and at the gateway's address.
    Nothing is sent and nothing changes. To see whether the ledger can be written, it writes a row as it is.
    Exit code 1 says that something is wrong. A check that says `look` does not count.

    \b
    Example:
      sms doctor
      sms doctor --json
    """
    results = list(_check_all(datetime.now(UTC)))
    if as_json:
        print_json([_as_json(check) for check in results])
    else:
        listed = table("check", "state", "what was found, and what to do", fixed={"check": 22, "state": 5})
        for check in results:
            text = "\n→ ".join(filter(None, (check.finding, check.remedy)))
            listed.add_row(check.name, styled(check.state), clean(text))
        console().print(listed)
    raise typer.Exit(1 if any(check.state == WRONG for check in results) else 0)


def _as_json(check: Check) -> dict[str, str | None]:
    return {"name": check.name, "state": check.state, "found": check.finding, "remedy": check.remedy}


def _check_all(now: datetime) -> Iterator[Check]:
    yield checks.check_settings()
    try:
        settings = load_settings()
    except ConfigError:
        # No role is asked for, so no setting is missing: one is wrong, and the check above says which.
        return
    if settings.redis_url:
        yield from _check_redis(settings)
    if settings.ledger_url:
        yield from _check_ledger(settings, now)
    yield checks.check_gateway(settings)


def _check_redis(settings: Settings) -> Iterator[Check]:
    engine = open_ledger(settings) if settings.ledger_url else None
    try:
        with redis_of(settings) as redis:
            yield from checks.check_redis(redis, engine, lambda: datetime.now(UTC))
    except AuthenticationError as error:
        yield Check("Redis", WRONG, str(error), "correct the user and the password in SMS_REDIS_URL")
    except NoPermissionError as error:
        remedy = "connect as the user worker: the user in SMS_REDIS_URL may not look at all of it"
        yield Check("Redis", WRONG, str(error), remedy)
    except RedisError as error:
        yield Check("Redis", WRONG, str(error), "start Redis, or correct SMS_REDIS_URL")
    finally:
        if engine is not None:
            engine.dispose()


def _check_ledger(settings: Settings, now: datetime) -> Iterator[Check]:
    engine = open_ledger(settings, lock_wait=LOCK_WAIT)
    try:
        version = checks.ledger.check_schema(engine)
        yield version
        if version.state == OK:
            yield checks.ledger.check_write(engine)
            with reading(engine) as connection:
                yield from checks.check_ledger(connection, settings, known_accounts(settings), now)
    except OperationalError as error:
        if is_locked(error):
            yield Check("ledger: questions", LOOK, "not all could be asked", in_words(error))
        else:
            yield Check("ledger", WRONG, "cannot be used", in_words(error))
    finally:
        engine.dispose()

"""What attacks share: the `sms` command, the rows of the ledger, and sending as an app."""

import json
import subprocess
import sys
from itertools import count
from typing import Any

from sqlalchemy import Select, func, select

from worker.client import SmsClient
from worker.devstack.stack import Stack
from worker.ledger.engine import open_engine, reading

_mobiles = count(13900000000)


def new_mobile() -> str:
    """A mobile that no attack has used yet. All of them begin with 139000."""
    return str(next(_mobiles))


def sms(stack: Stack, *command: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Runs a command of `sms` with the stack's settings. `environment` overrides them."""
    return subprocess.run(
        [sys.executable, "-m", "worker.cli", *command],
        env=stack.environment | environment,
        capture_output=True,
        text=True,
        check=False,
    )


def sms_json(stack: Stack, *command: str, **environment: str) -> Any:
    """What the command prints with --json."""
    return json.loads(sms(stack, *command, "--json", **environment).stdout)


def column(stack: Stack, query: Select[Any]) -> list[Any]:
    """The first column of the rows in the ledger."""
    engine = open_engine(stack.ledger_url)
    with reading(engine) as connection:
        values = list(connection.execute(query).scalars())
    engine.dispose()
    return values


def scalar(stack: Stack, query: Select[Any]) -> Any:
    """The value of a query that finds one row."""
    (value,) = column(stack, query)
    return value


def row_count(stack: Stack, table: Any) -> int:
    return int(scalar(stack, select(func.count()).select_from(table)))


def send(stack: Stack, mobile: str, content: str = "您好", *, lane: str = "notice", caller: str = "shop") -> str:
    """Sends as an app with the producer's user of Redis, and returns the message id. Raises Refused and ValueError."""
    return SmsClient(stack.redis_url_of("producer"), caller=caller).send(mobile, content, lane=lane)

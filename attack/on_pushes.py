"""Somebody pushes: with the token, or without it."""

import json
import re
import subprocess
import sys
from http.client import HTTPConnection, HTTPException
from itertools import count
from typing import Any
from urllib.parse import urlsplit

from redis import Redis
from sqlalchemy import func, select

from attack.table import Seen
from worker.client import SmsClient
from worker.devstack.stack import Stack
from worker.domain.mobile import mask
from worker.ledger.engine import open_engine, reading
from worker.ledger.tables import optouts, pushes, recipients
from worker.redis_store import intake
from worker.redis_store.clock import redis_time

HOURLY_MIB = 16
"""What the stack takes of pushes in an hour: `SMS_PUSH_HOURLY_MIB`."""
FORGED = 20_000
_mobiles = count(13900000000)


def push(stack: Stack, body: bytes, token: str | None = None) -> int:
    """The status that a push is answered with; 0 where the connection ends without one."""
    connection = HTTPConnection(urlsplit(stack.callback_url).netloc, timeout=30)
    try:
        connection.request("POST", f"/push/{token or stack.environment['SMS_PUSH_TOKEN']}", body)
        return connection.getresponse().status
    except (OSError, HTTPException):
        return 0
    finally:
        connection.close()


def replies(*items: tuple[str, str]) -> bytes:
    """A push of replies: mobile and text each."""
    forms = (
        f"<pushSmsForm><eprId>1</eprId><mobile>{mobile}</mobile><msgId>7</msgId><content>{text}</content>"
        "<userId>sword123</userId></pushSmsForm>"
        for mobile, text in items
    )
    return f"<returnForm><type>2</type><count>{len(items)}</count><list>{''.join(forms)}</list></returnForm>".encode()


def flood(stack: Stack) -> Seen:
    """More than an hour's bytes into the ledger, and more than its share into Redis; a code goes out all the same."""
    answers = [push(stack, b"<none>" + bytes(4_000_000)) for _ in range(HOURLY_MIB // 4 + 4)]
    with Redis.from_url(stack.redis_url_of("worker")) as redis:
        now = redis_time(redis)
        taken = 0
        while taken < 100 and intake.put_push(redis, f"p{taken}", bytes(3_000_000), source="attack", now=now):
            taken += 1
        full = intake.push_bytes(redis)
    sent = _code_arrives(stack)
    held = answers[-1] == 503 and 200 in answers and taken < 100 and sent
    return Seen(
        held,
        f"{answers.count(503)} of {len(answers)} pushes got 503, Redis took {full >> 20} MiB, a code went out: {sent}",
    )


def _code_arrives(stack: Stack) -> bool:
    before = stack.ask_simulator("summary")["mobiles_taken"]
    SmsClient(stack.redis_url_of("producer"), caller="shop").send(
        str(next(_mobiles)), "您的验证码是 123456", lane="otp"
    )
    stack.wait_for("a code", lambda: stack.ask_simulator("summary")["mobiles_taken"] > before, seconds=30)
    return True


def without_token(stack: Stack) -> Seen:
    """Pushes under tokens that are none. What nginx does before it is in tests/system/test_nginx.py."""
    body = b"<a stranger's/>"
    answers = [push(stack, body, token=token) for token in ("0123456789abcdef", "x", "../push", "%00")]
    kept = _asked(stack, select(func.count()).where(pushes.c.body == body))
    return Seen(set(answers) <= {400, 404} and not kept, f"{len(answers)} refused, {kept} kept")


def forged_optouts(stack: Stack) -> Seen:
    """A push names very many mobiles, one of which was sent to; then it is undone."""
    ours = str(next(_mobiles))
    SmsClient(stack.redis_url_of("producer"), caller="shop").send(ours, "您好", lane="notice")
    stack.wait_for("the notice", lambda: _asked(stack, select(func.count()).where(recipients.c.mobile == ours)))
    body = replies((ours, "TD"), *((str(13000000000 + n), "TD") for n in range(FORGED)))
    if (status := push(stack, body)) != 200:
        return Seen(None, f"the push was answered with {status}")
    push_id = _processed(stack, body)
    out = _rows(stack, optouts)
    undone = sms(stack, "optout", "undo", "--push", str(push_id)).stdout.strip()
    return Seen((out, _rows(stack, optouts)) == (1, 0), f"{out} of {FORGED + 1:,} opted out; undone: {undone}")


def forged_lines(stack: Stack) -> Seen:
    """A userId with a line break in it, and characters that command a terminal."""
    body = replies((str(next(_mobiles)), "好")).replace(b"sword123", b"x&#10;ERROR all is lost&#x9b;2J&#x202e;")
    push(stack, body)
    _processed(stack, body)
    logs = [path.read_text(errors="replace") for path in stack.directory.glob("*.log")]
    lines = sum(len(re.findall(r"^ERROR all is lost", log, re.MULTILINE)) for log in logs)
    shown = sms(stack, "pushes", "--json").stdout + sms(stack, "pushes").stdout
    raw = {char for char in shown if char in "\x9b\u202e\x1b"}
    return Seen(not lines and not raw, f"{lines} forged lines in the logs, {len(raw)} raw controls shown")


def logs(stack: Stack) -> Seen:
    """What the attacks before sent, and a code, looked for in all logs."""
    _code_arrives(stack)
    push(stack, b"<none> 13900000001", token="a-token-that-is-none")
    secrets = [*stack.redis_passwords.values(), *stack.ledger_passwords.values()]
    secrets += [stack.environment["SMS_PUSH_TOKEN"], stack.environment["SMS_PASSWORD"], "您的验证码是"]
    said = {path.name: path.read_text(errors="replace") for path in stack.directory.glob("*.log")}
    found = {f"{name}: {mask(one)}" for name, log in said.items() for one in secrets if one in log}
    found |= {f"{name}: a mobile" for name, log in said.items() if re.search(r"(?<!\d)139000\d{5}(?!\d)", log)}
    return Seen(not found, "; ".join(sorted(found)) or f"no secret, text or mobile in {len(said)} logs")


def sms(stack: Stack, *command: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Any command of `sms`, with the stack's settings."""
    return subprocess.run(
        [sys.executable, "-m", "worker.cli", *command],
        env=stack.environment | environment,
        capture_output=True,
        text=True,
        check=False,
    )


def told(stack: Stack, *command: str, **environment: str) -> Any:
    return json.loads(sms(stack, *command, "--json", **environment).stdout)


def _rows(stack: Stack, table: Any) -> int:
    return int(_asked(stack, select(func.count()).select_from(table)))


def _processed(stack: Stack, body: bytes) -> int:
    """The number of the push with that body, once it is processed. The gateway pushes meanwhile."""
    query = select(func.max(pushes.c.id)).where(pushes.c.body == body, pushes.c.state != "received")
    return int(stack.wait_for("it is processed", lambda: _asked(stack, query)))


def _asked(stack: Stack, query: Any) -> Any:
    engine = open_engine(stack.ledger_url)
    with reading(engine) as connection:
        found = connection.execute(query).scalar_one()
    engine.dispose()
    return found

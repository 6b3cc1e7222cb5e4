"""Attacks by pushes, with the token and without it."""

import re
from http.client import HTTPConnection, HTTPException
from urllib.parse import urlsplit

from redis import Redis
from sqlalchemy import func, select

from attack.system import new_mobile, row_count, scalar, send, sms
from attack.table import Result
from worker.devstack.stack import Stack
from worker.domain.mobile import mask
from worker.ledger.tables import optouts, pushes, recipients
from worker.redis_store import intake_pushes
from worker.redis_store.clock import redis_time

HOURLY_MIB = 16
"""MiB of pushes that the stack keeps in an hour: `SMS_PUSH_HOURLY_MIB`."""
FORGED = 20_000


def push(stack: Stack, body: bytes, token: str | None = None) -> int:
    """Pushes, and returns the status of the answer. 0 if the connection ends without one."""
    connection = HTTPConnection(urlsplit(stack.callback_url).netloc, timeout=30)
    try:
        connection.request("POST", f"/push/{token or stack.environment['SMS_PUSH_TOKEN']}", body)
        return connection.getresponse().status
    except (OSError, HTTPException):
        return 0
    finally:
        connection.close()


def replies(*items: tuple[str, str]) -> bytes:
    """The body of a push of replies, each with its mobile and text."""
    forms = (
        f"<pushSmsForm><eprId>1</eprId><mobile>{mobile}</mobile><msgId>7</msgId><content>{text}</content>"
        "<userId>sword123</userId></pushSmsForm>"
        for mobile, text in items
    )
    return f"<returnForm><type>2</type><count>{len(items)}</count><list>{''.join(forms)}</list></returnForm>".encode()


def flood(stack: Stack) -> Result:
    """Pushes more than the ledger takes in an hour, and more than Redis has room for.

    A code must go out all the same.
    """
    answers = [push(stack, b"<none>" + bytes(4_000_000)) for _ in range(HOURLY_MIB // 4 + 4)]
    with Redis.from_url(stack.redis_url_of("worker")) as redis:
        now = redis_time(redis)
        taken = 0
        while taken < 100 and intake_pushes.put(redis, f"p{taken}", bytes(3_000_000), source="attack", now=now):
            taken += 1
        full = intake_pushes.size(redis)
    sent = _code_arrives(stack)
    held = answers[-1] == 503 and 200 in answers and taken < 100 and sent
    return Result(
        held,
        f"{answers.count(503)} of {len(answers)} pushes got 503, Redis took {full >> 20} MiB, a code went out: {sent}",
    )


def _code_arrives(stack: Stack) -> bool:
    before = stack.ask_simulator("summary")["mobiles_taken"]
    send(stack, new_mobile(), "您的验证码是 123456", lane="otp")
    stack.wait_for("a code", lambda: stack.ask_simulator("summary")["mobiles_taken"] > before, seconds=30)
    return True


def without_token(stack: Stack) -> Result:
    """Pushes with wrong tokens. The part of nginx is in tests/system/test_nginx.py."""
    body = b"<a stranger's/>"
    answers = [push(stack, body, token=token) for token in ("0123456789abcdef", "x", "../push", "%00")]
    kept = scalar(stack, select(func.count()).where(pushes.c.body == body))
    return Result(set(answers) <= {400, 404} and not kept, f"{len(answers)} refused, {kept} kept")


def forged_optouts(stack: Stack) -> Result:
    """Pushes opt-outs of very many mobiles, only one of which got a message; then undoes the push."""
    ours = new_mobile()
    send(stack, ours)
    stack.wait_for("the notice", lambda: scalar(stack, select(func.count()).where(recipients.c.mobile == ours)))
    body = replies((ours, "TD"), *((str(13000000000 + n), "TD") for n in range(FORGED)))
    if (status := push(stack, body)) != 200:
        return Result(None, f"the push was answered with {status}")
    push_id = _processed(stack, body)
    opted_out = row_count(stack, optouts)
    undone = sms(stack, "optout", "undo", "--push", str(push_id)).stdout.strip()
    held = (opted_out, row_count(stack, optouts)) == (1, 0)
    return Result(held, f"{opted_out} of {FORGED + 1:,} opted out; undone: {undone}")


def forged_lines(stack: Stack) -> Result:
    """Pushes a userId with a line break, and characters that control a terminal."""
    body = replies((new_mobile(), "好")).replace(b"sword123", b"x&#10;ERROR all is lost&#x9b;2J&#x202e;")
    push(stack, body)
    _processed(stack, body)
    logs = [path.read_text(errors="replace") for path in stack.directory.glob("*.log")]
    lines = sum(len(re.findall(r"^ERROR all is lost", log, re.MULTILINE)) for log in logs)
    shown = sms(stack, "pushes", "--json").stdout + sms(stack, "pushes").stdout
    raw = {char for char in shown if char in "\x9b\u202e\x1b"}
    return Result(not lines and not raw, f"{lines} forged lines in the logs, {len(raw)} raw controls shown")


def logs(stack: Stack) -> Result:
    """Looks in all logs for secrets, and for the texts and mobiles of the attacks before."""
    _code_arrives(stack)
    push(stack, b"<none> 13900000001", token="a-token-that-is-none")
    secrets = [*stack.redis_passwords.values(), *stack.ledger_passwords.values()]
    secrets += [stack.environment["SMS_PUSH_TOKEN"], stack.environment["SMS_PASSWORD"], "您的验证码是"]
    texts = {path.name: path.read_text(errors="replace") for path in stack.directory.glob("*.log")}
    leaks = {f"{name}: {mask(secret)}" for name, text in texts.items() for secret in secrets if secret in text}
    leaks |= {f"{name}: a mobile" for name, text in texts.items() if re.search(r"(?<!\d)139000\d{5}(?!\d)", text)}
    return Result(not leaks, "; ".join(sorted(leaks)) or f"no secret, text or mobile in {len(texts)} logs")


def _processed(stack: Stack, body: bytes) -> int:
    """The id of the push with that body, once it is processed. The gateway pushes meanwhile."""
    query = select(func.max(pushes.c.id)).where(pushes.c.body == body, pushes.c.state != "received")
    return int(stack.wait_for("the push is processed", lambda: scalar(stack, query)))

"""Commands that an attacker tries with a stolen user of Redis."""

from collections.abc import Sequence

from redis import Redis
from redis.exceptions import ResponseError

INTAKE, WAITING, QUEUE = "sms:intake:otp", "sms:intake:otp:waiting", "sms.otp"
FORBIDDEN: dict[str, Sequence[str | int]] = {
    "read a text": ("HGETALL", INTAKE),
    "read one text": ("HGET", INTAKE, "id"),
    "walk through the texts": ("HSCAN", INTAKE, 0),
    "look for who waits": ("ZRANGE", WAITING, 0, -1),
    "take a message out": ("HDEL", INTAKE, "id"),
    "have it forgotten": ("ZREM", WAITING, "id"),
    "read what waits in a queue": ("LRANGE", QUEUE, 0, -1),
    "take a task": ("BRPOP", QUEUE, 1),
    "read what was pushed": ("HGETALL", "sms:intake:push"),
    "read what workers have in hand": ("HGETALL", "sms:unacked"),
    "empty a rate": ("DEL", "sms:rate:{default}"),
    "list keys": ("KEYS", "*"),
    "walk through keys": ("SCAN", 0),
    "copy a key": ("COPY", INTAKE, "mine"),
    "dump a key": ("DUMP", INTAKE),
    "read a text by a script": ("EVAL", "return redis.call('HGETALL', 'sms:intake:otp')", 0),
    "empty Redis": ("FLUSHALL",),
    "empty the database": ("FLUSHDB",),
    "end workers by remote control": ("PUBLISH", "/0.sms.pidbox", "{}"),
    "listen to remote control": ("SUBSCRIBE", "/0.sms.pidbox"),
    "see all commands": ("MONITOR",),
    "set Redis": ("CONFIG", "SET", "appendonly", "no"),
    "read passwords": ("ACL", "LIST"),
    "stop Redis": ("SHUTDOWN",),
    "load a function": ("FUNCTION", "LOAD", "#!lua name=x\nredis.register_function('x', function() end)"),
}
"""Commands by what they try. Only the workers' user may run them."""
FORBIDDEN_TO_ALL = {
    "set Redis",
    "read passwords",
    "stop Redis",
    "empty Redis",
    "empty the database",
    "see all commands",
    "list keys",
}
"""What not even the workers' user may do."""


def is_refused(redis: Redis, what: str) -> bool:
    """Whether Redis refuses the command because the user has no right to it."""
    try:
        redis.execute_command(*FORBIDDEN[what])  # type: ignore[no-untyped-call]  # redis-py has no type hints there
    except ResponseError as error:
        return "permission" in str(error).lower()
    return False

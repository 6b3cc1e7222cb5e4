"""The Lua scripts of this folder, each in a file of its own. Redis runs a script atomically."""

from functools import cache
from hashlib import sha1
from importlib.resources import files
from typing import Any

from redis import Redis
from redis.exceptions import NoScriptError

IF_FULL = "#!lua flags=allow-oom\n"
"""The first line of a script that a full Redis runs too: it makes room, or writes data that was just taken out."""


@cache
def load(name: str, *, if_full: bool = False) -> str:
    """The script `name.lua`. With `if_full`, a full Redis runs it too."""
    script = files("worker.redis_store").joinpath(f"{name}.lua").read_text(encoding="utf-8")
    return IF_FULL + script if if_full else script


def run(redis: Redis, script: str, keys: tuple[str, ...], *args: Any) -> Any:
    """Runs the script, and sends its whole text. Raises redis' exceptions."""
    return redis.eval(script, len(keys), *keys, *args)


def run_known(redis: Redis, script: str, keys: tuple[str, ...], *args: Any) -> Any:
    """Runs the script by its digest, which is shorter to send. Raises redis' exceptions."""
    try:
        return redis.evalsha(_digest(script), len(keys), *keys, *args)
    except NoScriptError:  # a new or emptied Redis, which learns the script by this run
        return run(redis, script, keys, *args)


@cache
def _digest(script: str) -> str:
    return sha1(script.encode(), usedforsecurity=False).hexdigest()

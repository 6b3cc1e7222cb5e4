"""The Lua scripts of this folder, each in a file of its own. Redis runs one as a whole: nothing comes between its steps."""

from functools import cache
from hashlib import sha1
from importlib.resources import files
from typing import Any

from redis import Redis
from redis.exceptions import NoScriptError

IF_FULL = "#!lua flags=allow-oom\n"
"""The first line of a script that a full Redis runs too: it makes room there, or is for what was just taken out."""


@cache
def load(name: str, *, if_full: bool = False) -> str:
    """The script `name.lua`; with `if_full` as one that a full Redis runs too."""
    script = files("worker.redis_store").joinpath(f"{name}.lua").read_text(encoding="utf-8")
    return IF_FULL + script if if_full else script


def run(redis: Redis, script: str, keys: tuple[str, ...], *args: Any) -> Any:
    """Runs the script, sent as it is. Raises redis' exceptions."""
    return redis.eval(script, len(keys), *keys, *args)


def run_known(redis: Redis, script: str, keys: tuple[str, ...], *args: Any) -> Any:
    """Runs the script by its digest: for a long one that runs often. Raises redis' exceptions."""
    try:
        return redis.evalsha(_digest(script), len(keys), *keys, *args)
    except NoScriptError:  # an emptied Redis or a new one: from now on it has it
        return run(redis, script, keys, *args)


@cache
def _digest(script: str) -> str:
    return sha1(script.encode(), usedforsecurity=False).hexdigest()

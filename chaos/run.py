"""One run: messages flow and things break; then everything is undone and settles; then the checker decides."""

import json
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import psutil
from redis import Redis
from redis.exceptions import RedisError
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from chaos.checker import CheckResult, check
from chaos.nemesis import Nemesis
from chaos.settle import settle
from chaos.workload import History, Repliers, Workload
from chaos.world import WORKERS, Setup, World, running_world
from worker.devstack.stack import Stack
from worker.ledger.engine import open_engine

SETUP = Setup(
    concurrency=16,
    gateway=("--latency-ms", "40", "--report-delay-ms", "200", "--push-retry-ms", "500", "--max-push-attempts", "0"),
    # Short timeouts make short leases: a worker that is killed in a call leaves its lease for 20 seconds.
    settings={"SMS_READ_TIMEOUT": "2", "SMS_CONNECT_TIMEOUT": "1"},
    through_proxy=True,
)
LOOK_SECONDS = 0.1
REPLY_SECONDS = 0.5
DEAF_SECONDS = 60


@dataclass(frozen=True, slots=True)
class Options:
    seed: int
    minutes: float
    messages: int
    every: float
    ledger: str
    freeze: float
    settle: float
    only: str | None
    directory: Path | None
    json: Path | None


def chaos(options: Options) -> bool:
    """Runs it and prints the result. Returns whether everything that must be none is none."""
    with running_world(
        SETUP,
        seed=options.seed,
        ledger=options.ledger,
        directory=options.directory,
        freeze_seconds=options.freeze,
    ) as world:
        history, result = _run(world, options)
        _show(world, history, result)
        if options.json is not None:
            figures = _figures(options, world, history, result)
            options.json.write_text(json.dumps(figures, indent=1, ensure_ascii=False))
        holds = result.holds and not history.faults
        if not holds:
            world.keep()
        return holds


def _run(world: World, options: Options) -> tuple[History, CheckResult]:
    engine = open_engine(world.stack.ledger_url)
    seconds = options.minutes * 60
    workload = Workload(world.stack.redis_url, options.seed, options.messages, seconds)
    workload.start()
    try:
        _break_things(world, Nemesis(world, options.only), options.every, seconds)
        world.log("no more faults")
        world.undo_all()
        world.behave(script=[], pushes={}, date_skew_seconds=0)
        workload.stop()
        waiting = settle(world, engine, options.settle)
        deaf = _deaf_workers(world)
        return workload.history, check(world, workload.history.accepted, engine, waiting, deaf)
    finally:
        workload.stop()
        engine.dispose()


def _break_things(world: World, nemesis: Nemesis, every: float, seconds: float) -> None:
    people = Repliers(world)
    now = time.monotonic()
    end, next_fault, next_reply = now + seconds, now + every, now + REPLY_SECONDS
    while (now := time.monotonic()) < end:
        world.supervise()
        if now >= next_reply:
            people.reply()
            next_reply = now + REPLY_SECONDS
        if now >= next_fault:
            nemesis.strike()
            # At irregular times, so that no recovery can fall in step with the faults.
            next_fault = time.monotonic() + every * world.random.uniform(0.5, 1.5)
        time.sleep(LOOK_SECONDS)


def _deaf_workers(world: World) -> list[str]:
    """The workers that were never seen to wait for a task. An idle worker does nothing else."""
    deaf = set(WORKERS)
    deadline = time.monotonic() + DEAF_SECONDS
    while deaf and time.monotonic() < deadline:
        world.supervise()
        waiting = _waiting_ports(world.stack.redis_url)
        deaf = {name for name in deaf if not waiting & _ports_of(world.stack, name)}
        time.sleep(0.2)
    return sorted(deaf)


def _waiting_ports(redis_url: str) -> set[int]:
    """The ports of the clients that wait for a task."""
    try:
        with Redis.from_url(redis_url, socket_timeout=5) as redis:
            clients = redis.client_list()
    except RedisError:
        return set()
    return {int(client["addr"].rpartition(":")[2]) for client in clients if client["cmd"] == "brpop"}


def _ports_of(stack: Stack, name: str) -> set[int]:
    if name not in stack.processes:
        return set()
    try:
        connections = psutil.Process(stack.processes[name].pid).net_connections("tcp")
    except psutil.Error:
        return set()
    return {connection.laddr.port for connection in connections}


def _show(world: World, history: History, result: CheckResult) -> None:
    table = Table("", "", title="Result", title_justify="left", box=SIMPLE_HEAD, show_header=False)
    table.columns[1].justify = "right"
    _add_section(table, {**_sender_counts(history), **result.counts})
    _add_section(table, {f"recipients {status}": count for status, count in result.statuses.items()})
    for name, broken in result.must_be_none.items():
        table.add_row(name, f"{len(broken):,}" if not broken else f"[bold red]{len(broken):,}")
    table.add_row("ended by themselves", f"{len(world.ended):,}")
    Console(highlight=False).print(table)
    for name, broken in result.must_be_none.items():
        if broken:
            print(f"{name}: {', '.join(map(str, broken[:20]))}")
    ended = (f"ended by itself: {line}" for line in world.ended)
    for line in (*result.remarks[:20], *history.faults[:20], *ended):
        print(line)


def _add_section(table: Table, counts: Mapping[str, int]) -> None:
    for name, count in counts.items():
        table.add_row(name, f"{count:,}")
    table.add_section()


def _sender_counts(history: History) -> dict[str, int]:
    return {
        "calls of send": history.calls,
        "of them, raised Unavailable": history.raised,
        "messages whose send never returned": history.given_up,
        "messages sent once more with their key": history.sent_twice,
    }


def _figures(options: Options, world: World, history: History, result: CheckResult) -> dict[str, Any]:
    return {
        "options": {name: str(value) for name, value in asdict(options).items()},
        "faults": world.faults,
        **_sender_counts(history),
        **result.counts,
        "statuses": result.statuses,
        "ended_by_themselves": world.ended,
        "sender_faults": history.faults,
        "must_be_none": result.must_be_none,
    }

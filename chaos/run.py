"""One run: messages flow and things break, then everything is put right and settles, then it is judged."""

import json
import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from random import Random
from typing import Any

import psutil
from redis import Redis
from redis.exceptions import RedisError
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from chaos.checker import Verdict, judge
from chaos.faults import Deck, Repliers
from chaos.postgres import Postgres, running_postgres
from chaos.proxy import Door, open_door
from chaos.settle import settle
from chaos.workload import Ledgerless, Traffic
from chaos.world import WORKERS, World, put_right
from worker.devstack.signals import signals_noted
from worker.devstack.stack import Stack, running_stack, start_worker
from worker.ledger.engine import open_engine

CONCURRENCY = 16
# Short, so that a lease is: a worker that is killed in a call leaves it for 20 seconds.
TIMEOUTS = {"SMS_READ_TIMEOUT": "2", "SMS_CONNECT_TIMEOUT": "1"}
GATEWAY = ("--latency-ms", "40", "--report-delay-ms", "200", "--push-retry-ms", "500", "--max-push-attempts", "0")
TURN_SECONDS = 0.1
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
    """Runs it, prints what it did and what came of it; whether all that must be none is none."""
    with (
        signals_noted() as interrupted,
        kept_place(options.directory) as (place, keep),
        postgres_for(options.ledger) as postgres,
        open_door() as door,
        _stack(place, postgres, door, interrupted) as stack,
    ):
        world = World(stack, door, postgres, Random(options.seed), options.freeze)
        with put_right(world):
            known, verdict = _run(world, options)
        _show(world, known, verdict)
        if options.json is not None:
            options.json.write_text(json.dumps(_figures(options, world, known, verdict), indent=1, ensure_ascii=False))
        if not verdict.holds or known.faults:
            keep()
        return verdict.holds and not known.faults


def _run(world: World, options: Options) -> tuple[Ledgerless, Verdict]:
    engine = open_engine(world.stack.ledger_url)
    seconds = options.minutes * 60
    traffic = Traffic(world.stack.redis_url, options.seed, options.messages, seconds)
    traffic.start()
    try:
        _break_things(world, Deck(world, options.only), options.every, seconds)
        world.say("no more faults")
        world.undo_all()
        _calm(world)
        traffic.stop()
        waiting = settle(world, engine, options.settle)
        deaf = _deaf_workers(world)
        return traffic.known, judge(world, traffic.known.accepted, engine, waiting, deaf)
    finally:
        traffic.stop()
        engine.dispose()


def _break_things(world: World, deck: Deck, every: float, seconds: float) -> None:
    people = Repliers(world)
    now = time.monotonic()
    end, next_fault, next_reply = now + seconds, now + every, now + REPLY_SECONDS
    while (now := time.monotonic()) < end:
        world.turn()
        if now >= next_reply:
            people.one_answers()
            next_reply = now + REPLY_SECONDS
        if now >= next_fault:
            deck.break_something()
            # Every few seconds, not at a beat that what recovers could fall in with.
            next_fault = time.monotonic() + every * world.random.uniform(0.5, 1.5)
        time.sleep(TURN_SECONDS)


def _calm(world: World) -> None:
    world.behave(script=[], pushes={}, date_skew_seconds=0)


def _deaf_workers(world: World) -> list[str]:
    """The workers that were not once seen to wait for a task: an idle one does nothing else."""
    deaf = set(WORKERS)
    deadline = time.monotonic() + DEAF_SECONDS
    while deaf and time.monotonic() < deadline:
        world.turn()
        waiting = _ports_that_wait(world.stack.redis_url)
        deaf = {name for name in deaf if not waiting & _ports_of(world.stack, name)}
        time.sleep(0.2)
    return sorted(deaf)


def _ports_that_wait(redis_url: str) -> set[int]:
    try:
        with Redis.from_url(redis_url, socket_timeout=5) as redis:
            return {int(one["addr"].rpartition(":")[2]) for one in redis.client_list() if one["cmd"] == "brpop"}
    except RedisError:
        return set()


def _ports_of(stack: Stack, name: str) -> set[int]:
    if name not in stack.processes:
        return set()
    try:
        return {one.laddr.port for one in psutil.Process(stack.processes[name].pid).net_connections("tcp")}
    except psutil.Error:
        return set()


# What it runs on.


@contextmanager
def kept_place(directory: Path | None) -> Iterator[tuple[Path, Callable[[], None]]]:
    """Where the logs and files go, and a function that has them kept."""
    place = directory or Path(tempfile.mkdtemp(prefix="sms-chaos-"))
    kept = [directory is not None]
    try:
        yield place, lambda: kept.append(True)
    finally:
        if any(kept):
            print(f"the logs are in {place}")
        else:
            shutil.rmtree(place)


def postgres_for(ledger: str) -> Any:
    """A server of our own, or none where the ledger is SQLite."""
    return running_postgres() if ledger == "postgresql" else nullcontext(None)


@contextmanager
def _stack(place: Path, postgres: Postgres | None, door: Door, interrupted: Callable[[], None]) -> Iterator[Stack]:
    settings = {**TIMEOUTS, "SMS_GATEWAY_URL": f"http://127.0.0.1:{door.port}/api/webservice"}
    with running_stack(
        place,
        ledger_url=postgres.url if postgres is not None else None,
        concurrency=CONCURRENCY,
        simulator_options=GATEWAY,
        settings=settings,
        interrupted=interrupted,
    ) as stack:
        door.to_port = int(stack.simulator_url.rpartition(":")[2])
        start_worker(stack, WORKERS[1], CONCURRENCY)
        yield stack


# What it shows.


def _show(world: World, known: Ledgerless, verdict: Verdict) -> None:
    table = Table("", "", title="What came of it", title_justify="left", box=SIMPLE_HEAD, show_header=False)
    table.columns[1].justify = "right"
    for name, count in {**_of_the_sender(known), **verdict.counts}.items():
        table.add_row(name, f"{count:,}")
    table.add_section()
    for name, count in verdict.statuses.items():
        table.add_row(f"recipients {name}", f"{count:,}")
    table.add_section()
    for name, who in verdict.must_be_none.items():
        table.add_row(name, f"{len(who):,}" if not who else f"[bold red]{len(who):,}")
    table.add_row("ended by themselves", f"{len(world.ended):,}")
    Console(highlight=False).print(table)
    for name, who in verdict.must_be_none.items():
        if who:
            print(f"{name}: {', '.join(map(str, who[:20]))}")
    for line in (*verdict.remarks[:20], *known.faults[:20], *(f"ended by itself: {one}" for one in world.ended)):
        print(line)


def _of_the_sender(known: Ledgerless) -> dict[str, int]:
    return {
        "calls of send": known.calls,
        "of them, raised Unavailable": known.raised,
        "messages whose send never returned": known.given_up,
        "messages sent once more with their key": known.sent_twice,
    }


def _figures(options: Options, world: World, known: Ledgerless, verdict: Verdict) -> dict[str, Any]:
    return {
        "options": {name: str(value) for name, value in asdict(options).items()},
        "faults": Counter(world.faults),
        **_of_the_sender(known),
        **verdict.counts,
        "statuses": verdict.statuses,
        "ended_by_themselves": world.ended,
        "sender_faults": known.faults,
        "must_be_none": verdict.must_be_none,
    }

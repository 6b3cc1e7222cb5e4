"""One run: all the senders and all the trouble at once, then everything is put right and settles, then it is judged."""

import json
import math
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from random import Random
from typing import Any

from chaos.campaign import MEMBERS, start_campaign
from chaos.checker import Waiting, calls_of
from chaos.load.checker import Bounds, Figure, figures, otp_seconds, unaccounted
from chaos.load.evidence import Evidence, rows_of
from chaos.load.poison import Poison
from chaos.load.senders import FOREIGN, Flood, Otps, Pushes, at_work, flooding
from chaos.load.show import line, show
from chaos.load.trouble import Gateway, Sick, Trouble, sick_worker, timetable
from chaos.load.watch import Watch, watching
from chaos.postgres import Postgres
from chaos.proxy import open_door
from chaos.run import kept_place, postgres_for
from chaos.settle import settle
from chaos.world import WORKERS, World, put_right
from worker.devstack.signals import signals_noted
from worker.devstack.stack import Stack, running_stack, start_worker
from worker.domain.lane import CALLS_AT_ONCE
from worker.ledger.engine import open_engine

CONCURRENCY = 4
IN_FLIGHT = len(WORKERS) * CONCURRENCY * CALLS_AT_ONCE
LATENCY_MS = 400
"""So 80 calls at once are 200 a second at most: on any machine the flood is more than the workers can do."""
OTP_PACE, SHORT_OTP_PACE = 4.0, 8.0
"""OTPs a second; in a short run more, so that there are some to judge."""
PUSH_SECONDS = 2.0
STUCK_SECONDS = 75
"""Longer than a lease and than the minute after which a gate is probed: what has not moved by then does not move any more."""
SHOW_SECONDS = 5
TURN_SECONDS = 0.1
SETTINGS = {"SMS_READ_TIMEOUT": "10", "SMS_CONNECT_TIMEOUT": "2", "SMS_MAX_MOBILES": "5"}
GATEWAY = (
    "--latency-ms",
    str(LATENCY_MS),
    "--report-delay-ms",
    "200",
    "--push-retry-ms",
    "500",
    "--max-push-attempts",
    "0",
)


@dataclass(frozen=True, slots=True)
class Options:
    seed: int
    minutes: float
    rate: float
    """Of the flood, in messages a second."""
    backlog: int
    """The flood pauses while so many wait, until half of them do."""
    messages: int
    """Members of the campaign."""
    in_a_row: int
    ledger: str
    settle: float
    only: str | None
    directory: Path | None
    json: Path | None


def load(options: Options) -> bool:
    """Runs it, prints each figure beside its bound; whether all of them hold."""
    with (
        signals_noted() as interrupted,
        kept_place(options.directory) as (place, keep),
        postgres_for(options.ledger) as postgres,
        open_door() as door,
        _stack(place, postgres, interrupted) as stack,
    ):
        world = World(stack, door, postgres, Random(options.seed), freeze_seconds=0)
        with put_right(world):
            found, told, remarks = _run(world, options)
        show(found, told, remarks)
        if options.json is not None:
            options.json.write_text(json.dumps(_figures(options, found, told, remarks), indent=1, ensure_ascii=False))
        holds = all(figure.holds for figure in found)
        if not holds:
            keep()
        return holds


@contextmanager
def _stack(place: Path, postgres: Postgres | None, interrupted: Callable[[], None]) -> Iterator[Stack]:
    with running_stack(
        place,
        ledger_url=postgres.url if postgres is not None else None,
        concurrency=CONCURRENCY,
        simulator_options=GATEWAY,
        settings=SETTINGS,
        interrupted=interrupted,
    ) as stack:
        start_worker(stack, WORKERS[1], CONCURRENCY)
        yield stack


def _run(world: World, options: Options) -> tuple[list[Figure], dict[str, int], list[str]]:
    stack, seconds = world.stack, options.minutes * 60
    engine = open_engine(stack.ledger_url)
    gateway, poison = Gateway(world), Poison(stack)
    otps = Otps(stack.redis_url, SHORT_OTP_PACE if seconds < 120 else OTP_PACE)
    pushes = Pushes(stack, PUSH_SECONDS)
    begun: list[int] = []

    def campaign() -> None:
        start_campaign(engine, "您的账单 {{ name }}", options.messages)
        begun.append(options.messages)

    try:
        with sick_worker(world, CONCURRENCY) as sick, watching(stack, engine) as watch:
            plan = timetable(gateway, poison, sick, campaign, seconds)
            with flooding(stack, options.rate, seconds) as flood, at_work(otps, pushes):
                _make_trouble(world, sick, watch, flood, plan, options)
            world.say("no more trouble")
            gateway.is_well()
            waiting = settle(world, engine, options.settle, stuck=STUCK_SECONDS)
        evidence = Evidence(
            accepted=flood.accepted() | otps.accepted,
            otps=otps.sent,
            poison=poison.accounted,
            members=sum(begun),
            pushed=pushes.reports,
            spells=gateway.spells,
            looks=watch.looks,
            calls=calls_of(stack),
            rows=rows_of(stack, engine, foreign=FOREIGN, campaign=MEMBERS),
            ended=world.ended,
            waiting=waiting.counts,
        )
    finally:
        engine.dispose()
    faults = [*flood.faults(), *otps.faults]
    found = figures(evidence, Bounds(IN_FLIGHT, options.in_a_row), beyond=math.ceil(3 * options.rate))
    found.append(Figure("faults of `send`", len(faults), most=0))
    return found, _told(evidence, sick, pushes, poison), [*_remarks(evidence, watch), *faults[:5]]


def _make_trouble(
    world: World, sick: Sick, watch: Watch, flood: Flood, plan: Sequence[Trouble], options: Options
) -> None:
    left = [one for one in plan if options.only is None or options.only in one.name]
    began, shown = time.monotonic(), 0.0
    while (since := time.monotonic() - began) < options.minutes * 60:
        world.turn()
        sick.turn()
        while left and left[0].at <= since:
            world.say(left[0].name)
            left.pop(0).do()
        _hold(flood, watch, options.backlog)
        if since >= shown:
            world.say(line(watch, world.stack.ask_simulator("summary")["calls_taken"]))
            shown = since + SHOW_SECONDS
        time.sleep(TURN_SECONDS)


def _hold(flood: Flood, watch: Watch, backlog: int) -> None:
    """The flood is to be more than the workers can do, and not more than can be done with afterwards."""
    waiting = watch.looks[-1].waiting if watch.looks else 0
    if waiting >= backlog:
        flood.hold.set()
    elif waiting <= backlog // 2:
        flood.hold.clear()


def _told(evidence: Evidence, sick: Sick, pushes: Pushes, poison: Poison) -> dict[str, int]:
    return {
        "messages accepted by send": len(evidence.accepted),
        "calls taken by the gateway": len(evidence.calls),
        "OTPs sent": len(evidence.otps),
        "of them, counted (the gateway well)": len(otp_seconds(evidence)),
        "reports of extra pushes": pushes.reports,
        "poison given": len(evidence.poison) + poison.refused_at_the_door,
        "of it, refused by the client": poison.refused_at_the_door,
        "spells of a bad gateway": len(evidence.spells),
        "times that the sick worker ended": sick.ends,
    }


def _remarks(evidence: Evidence, watch: Watch) -> list[str]:
    return [
        *([f"waiting: {Waiting(evidence.waiting)}"] if any((evidence.waiting or {"": 1}).values()) else []),
        *(f"ended by itself: {one}" for one in evidence.ended),
        *(f"unaccounted for: {count} poison {what}" for what, count in Counter(unaccounted(evidence)).items()),
        *([f"{watch.slow} looks came late: the ages may have been higher in between"] if watch.slow else []),
        *(f"could not look: {one}" for one in watch.failed[:3]),
    ]


def _figures(options: Options, found: Sequence[Figure], told: dict[str, int], remarks: Sequence[str]) -> dict[str, Any]:
    return {
        "options": {name: str(value) for name, value in asdict(options).items()},
        **told,
        "figures": {
            figure.name: {
                "value": None if math.isinf(figure.value) else round(figure.value, 3),
                "most": figure.most,
                "least": figure.least,
                "holds": figure.holds,
            }
            for figure in found
        },
        "remarks": remarks,
    }

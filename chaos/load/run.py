"""One run: all senders and all trouble at once; then everything recovers and settles; then the checker decides."""

import json
import math
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import Engine

from chaos.campaign import MEMBERS, start_campaign
from chaos.checker import Waiting
from chaos.load.checker import Bounds, Figure, figures, otp_seconds, unaccounted
from chaos.load.evidence import Evidence, rows_of
from chaos.load.poison import Poison
from chaos.load.senders import FOREIGN, Flood, Otps, Pushes, at_work, flooding
from chaos.load.show import show, status_line
from chaos.load.trouble import SHORT_SECONDS, Gateway, SickWorker, sick_worker, timetable
from chaos.load.watch import Watch, watching
from chaos.settle import settle
from chaos.world import WORKERS, Setup, World, running_world
from worker.domain.lane import CALLS_AT_ONCE
from worker.ledger.engine import open_engine

LATENCY_MS = 400
"""With it, 80 calls at once are at most 200 a second: on any machine the flood is more than the workers can send."""
SETUP = Setup(
    concurrency=4,
    gateway=(
        *("--latency-ms", str(LATENCY_MS), "--report-delay-ms", "200"),
        *("--push-retry-ms", "500", "--max-push-attempts", "0"),
    ),
    settings={"SMS_READ_TIMEOUT": "10", "SMS_CONNECT_TIMEOUT": "2", "SMS_MAX_MOBILES": "5"},
    through_proxy=False,
)
IN_FLIGHT = len(WORKERS) * SETUP.concurrency * CALLS_AT_ONCE
OTP_PACE, SHORT_OTP_PACE = 4.0, 8.0
"""OTPs a second. A short run has more, so that the figures have enough of them."""
PUSH_SECONDS = 2.0
STUCK_SECONDS = 75
"""Longer than a lease, and than the minute after which a gate is probed. What has not moved by then never will."""
SHOW_SECONDS = 5
LOOK_SECONDS = 0.1


@dataclass(frozen=True, slots=True)
class Options:
    seed: int
    minutes: float
    rate: float
    """Messages of the flood a second."""
    backlog: int
    """The flood pauses when that many wait, until only half as many do."""
    messages: int
    """Members of the campaign."""
    in_a_row: int
    ledger: str
    settle: float
    only: str | None
    directory: Path | None
    json: Path | None


def load(options: Options) -> bool:
    """Runs it, and prints each figure beside its bound. Returns whether all bounds hold."""
    with running_world(SETUP, seed=options.seed, ledger=options.ledger, directory=options.directory) as world:
        result = _run(world, options)
        show(result.figures, result.counts, result.remarks)
        if options.json is not None:
            options.json.write_text(json.dumps(_as_json(options, result), indent=1, ensure_ascii=False))
        holds = all(figure.holds for figure in result.figures)
        if not holds:
            world.keep()
        return holds


@dataclass(frozen=True)
class _Result:
    figures: Sequence[Figure]
    counts: dict[str, int]
    """What is only shown."""
    remarks: Sequence[str]


@dataclass
class _Parts:
    """What takes part in a run."""

    world: World
    options: Options
    engine: Engine
    gateway: Gateway
    poison: Poison
    otps: Otps
    pushes: Pushes
    members: int = 0
    """The members of the campaign, once it has started."""

    def start_campaign(self) -> None:
        start_campaign(self.engine, "您的账单 {{ name }}", self.options.messages)
        self.members = self.options.messages


def _run(world: World, options: Options) -> _Result:
    stack = world.stack
    engine = open_engine(stack.ledger_url)
    otps = Otps(stack.redis_url, SHORT_OTP_PACE if options.minutes * 60 < SHORT_SECONDS else OTP_PACE)
    pushes = Pushes(stack, PUSH_SECONDS)
    parts = _Parts(world, options, engine, Gateway(world), Poison(stack), otps, pushes)
    try:
        with sick_worker(world, SETUP.concurrency) as sick, watching(stack, engine) as watch:
            with flooding(stack, options.rate, options.minutes * 60) as flood, at_work(otps, pushes):
                _make_trouble(parts, sick, watch, flood)
            world.log("no more trouble")
            parts.gateway.recover()
            waiting = settle(world, engine, options.settle, stuck=STUCK_SECONDS)
        evidence = _evidence(parts, flood, watch, waiting)
    finally:
        engine.dispose()
    faults = [*flood.faults(), *otps.faults]
    checked = figures(evidence, Bounds(IN_FLIGHT, options.in_a_row), beyond=math.ceil(3 * options.rate))
    return _Result(
        [*checked, Figure("faults of `send`", len(faults), most=0)],
        _counts(evidence, parts, sick),
        [*_remarks(evidence, watch), *faults[:5]],
    )


def _evidence(parts: _Parts, flood: Flood, watch: Watch, waiting: Waiting) -> Evidence:
    stack = parts.world.stack
    return Evidence(
        accepted=flood.accepted() | parts.otps.accepted,
        otps=parts.otps.sent,
        poison=parts.poison.accounted,
        members=parts.members,
        pushed=parts.pushes.reports,
        spells=parts.gateway.spells,
        looks=watch.looks,
        calls=stack.calls(),
        rows=rows_of(stack, parts.engine, foreign=FOREIGN, campaign=MEMBERS),
        ended=parts.world.ended,
        waiting=waiting.counts,
    )


def _make_trouble(parts: _Parts, sick: SickWorker, watch: Watch, flood: Flood) -> None:
    world, options, seconds = parts.world, parts.options, parts.options.minutes * 60
    left = [
        trouble
        for trouble in timetable(parts.gateway, parts.poison, sick, parts.start_campaign, seconds)
        if options.only is None or options.only in trouble.name
    ]
    began, shown = time.monotonic(), 0.0
    while (since := time.monotonic() - began) < seconds:
        world.supervise()
        sick.supervise()
        while left and left[0].at <= since:
            world.log(left[0].name)
            left.pop(0).do()
        _hold(flood, watch, options.backlog)
        if since >= shown:
            world.log(status_line(watch, world.stack.ask_simulator("summary")["calls_taken"]))
            shown = since + SHOW_SECONDS
        time.sleep(LOOK_SECONDS)


def _hold(flood: Flood, watch: Watch, backlog: int) -> None:
    """Keeps the flood at more than the workers can send, and at less than would take too long afterwards."""
    waiting = watch.looks[-1].waiting if watch.looks else 0
    if waiting >= backlog:
        flood.hold.set()
    elif waiting <= backlog // 2:
        flood.hold.clear()


def _counts(evidence: Evidence, parts: _Parts, sick: SickWorker) -> dict[str, int]:
    return {
        "messages accepted by send": len(evidence.accepted),
        "calls taken by the gateway": len(evidence.calls),
        "OTPs sent": len(evidence.otps),
        "of them, counted (the gateway well)": len(otp_seconds(evidence)),
        "reports of extra pushes": parts.pushes.reports,
        "poison given": len(evidence.poison) + parts.poison.refused_by_client,
        "of it, refused by the client": parts.poison.refused_by_client,
        "spells of a bad gateway": len(evidence.spells),
        "times that the sick worker ended": sick.ends,
    }


def _remarks(evidence: Evidence, watch: Watch) -> list[str]:
    return [
        *([f"waiting: {Waiting(evidence.waiting)}"] if any((evidence.waiting or {"": 1}).values()) else []),
        *(f"ended by itself: {process}" for process in evidence.ended),
        *(f"unaccounted for: {count} poison {what}" for what, count in Counter(unaccounted(evidence)).items()),
        *([f"{watch.slow} looks came late: the ages may have been higher in between"] if watch.slow else []),
        *(f"could not look: {error}" for error in watch.failed[:3]),
    ]


def _as_json(options: Options, result: _Result) -> dict[str, Any]:
    return {
        "options": {name: str(value) for name, value in asdict(options).items()},
        **result.counts,
        "figures": {
            figure.name: {
                "value": None if math.isinf(figure.value) else round(figure.value, 3),
                "most": figure.most,
                "least": figure.least,
                "holds": figure.holds,
            }
            for figure in result.figures
        },
        "remarks": result.remarks,
    }

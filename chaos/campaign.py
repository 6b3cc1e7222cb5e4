"""A campaign while beats and workers are killed. Each member gets one text, or none and the outcome is unknown."""

import os
import signal
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from random import Random

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from sqlalchemy import Engine, func, select

from chaos.checker import still_waiting
from chaos.postgres import postgres_for
from worker.campaigns.draft import draft, start_time
from worker.campaigns.spec import CampaignSpec
from worker.devstack.signals import deferred_signals
from worker.devstack.stack import Stack, running_stack, start_beat, start_worker
from worker.domain.campaigns.audience import Member, Origin
from worker.domain.campaigns.campaign import RunState
from worker.domain.lane import LANES
from worker.domain.status import State
from worker.ledger.campaigns import audiences, campaigns
from worker.ledger.engine import open_engine, reading
from worker.ledger.tables import recipient_status, runs

TIMEOUTS = {"SMS_READ_TIMEOUT": "1", "SMS_CONNECT_TIMEOUT": "1", "SMS_MAX_MOBILES": "5"}
GATEWAY = ("--latency-ms", "40", "--report-delay-ms", "200", "--push-retry-ms", "500", "--max-push-attempts", "0")
WORKERS = ("worker", "worker 2", "worker 3", "worker 4")
BEATS = ("beat", "beat 2")
CONCURRENCY = 4
SETTLE_SECONDS = 300
MEMBERS = "138"
"""The first digits of the mobiles of an audience."""
# Notices go out at any hour. Marketing would wait for the morning.
SPEC = CampaignSpec("chaos", "people", "", lane="notice")
TEXTS = {"personal": "尊敬的{{ name }}，您的账单已出", "one text": "您的账单已出"}


def run_of_a_campaign(seed: int, members: int, every: float, ledger: str) -> bool:
    """Sends a campaign of each kind while processes are killed, and prints the results.

    Returns whether nothing was wrong.
    """
    table = Table("text", "members", "kill -9", "runs", "taken", "unknown", "wrong", title="Campaigns", box=SIMPLE_HEAD)
    holds = True
    with deferred_signals() as raise_if_interrupted:
        for kind, content in TEXTS.items():
            print(f"a campaign, {kind}, to {members:,}, and a kill about every {every:g} s ...", flush=True)
            row, wrong = _campaign(content, Random(seed), members, every, ledger, raise_if_interrupted)
            table.add_row(kind, f"{members:,}", *row, "; ".join(wrong) or "nothing")
            holds = holds and not wrong
    Console().print(table)
    return holds


def _campaign(
    content: str, dice: Random, members: int, every: float, ledger: str, raise_if_interrupted: Callable[[], None]
) -> tuple[list[str], list[str]]:
    with (
        tempfile.TemporaryDirectory(prefix="sms-chaos-") as directory,
        postgres_for(ledger) as postgres,
        running_stack(
            Path(directory),
            ledger_url=postgres.url if postgres is not None else None,
            concurrency=CONCURRENCY,
            settings=TIMEOUTS,
            simulator_options=GATEWAY,
            raise_if_interrupted=raise_if_interrupted,
        ) as stack,
    ):
        for name in WORKERS[1:]:
            start_worker(stack, name, CONCURRENCY)
        start_beat(stack, BEATS[1])
        engine = open_engine(stack.ledger_url)
        start_campaign(engine, content, members)
        kills = _kill_until_done(stack, engine, dice, every)
        _settle(stack, engine)
        counts, wrong = _check(stack, engine, members)
        engine.dispose()
        return [f"{count:,}" for count in (kills, *counts)], wrong


def start_campaign(engine: Engine, content: str, count: int) -> None:
    """Imports `count` people, and starts a campaign to them in the lane `notice`, which sends at any hour."""
    now = datetime.now(UTC)
    people = [
        Member(line, f"{MEMBERS}{line:08}", (f"{MEMBERS}{line:08}", f"客户{line}")) for line in range(2, count + 2)
    ]
    with engine.begin() as connection:
        audience_id = audiences.begin(
            connection,
            "people",
            Origin("people.csv", ("mobile", "name"), "mobile"),
            by="chaos",
            now=now,
        )
        if audience_id is None:
            raise RuntimeError("the ledger is not empty")
        audiences.add(connection, audience_id, people)
        audiences.finish(connection, audience_id, good=count, repeats=0, refused=0)
        campaign = draft(connection, replace(SPEC, content=content), lanes=LANES, zones={}, by="chaos", now=now)
        campaigns.start(connection, campaign.id, next_at=start_time(campaign, now=now), by="chaos", now=now)


def _kill_until_done(stack: Stack, engine: Engine, dice: Random, every: float) -> int:
    """Kills beats and workers until the run is done. Returns how often. Whatever has ended is started again."""
    kills = 0
    due = time.monotonic() + every
    while not _is_over(engine):
        stack.raise_if_interrupted()
        _restart(stack)
        if time.monotonic() >= due:
            name = dice.choice(WORKERS + BEATS)
            os.killpg(stack.processes[name].pid, signal.SIGKILL)
            stack.processes[name].wait()
            kills += 1
            due = time.monotonic() + every * dice.uniform(0.5, 1.5)
        time.sleep(0.05)
    _restart(stack)
    return kills


def _restart(stack: Stack) -> None:
    for name, process in tuple(stack.processes.items()):
        if process.poll() is not None:
            stack.start(name)


def _is_over(engine: Engine) -> bool:
    with reading(engine) as connection:
        return connection.scalar(select(func.count()).where(runs.c.state == RunState.DONE)) == 1


def _settle(stack: Stack, engine: Engine) -> None:
    stack.wait_for("nothing waits", lambda: still_waiting(stack, engine).total == 0, seconds=SETTLE_SECONDS)


def _check(stack: Stack, engine: Engine, count: int) -> tuple[tuple[int, int, int], list[str]]:
    """The number of runs, of mobiles that the gateway took, and of unknown recipients; and what is wrong with them."""
    taken = Counter(mobile for call in stack.calls() for mobile in call["mobiles"])
    with reading(engine) as connection:
        began = connection.scalar(select(func.count()).select_from(runs)) or 0
        rows = connection.execute(select(recipient_status.c.mobile, recipient_status.c.status)).all()
    statuses = Counter(status for _, status in rows)
    unknown = {mobile for mobile, status in rows if status == State.UNKNOWN}
    wrong = {
        "runs that began, not 1": began - 1,
        "recipients too many or too few": len(rows) - count,
        "members twice": len(rows) - len({mobile for mobile, _ in rows}),
        "taken twice": sum(times > 1 for times in taken.values()),
        "neither taken nor unknown": len({mobile for mobile, _ in rows} - taken.keys() - unknown),
        "unknown, and taken": len(unknown & taken.keys()),
        "of another status": len(rows) - statuses["delivered"] - len(unknown),
    }
    return (began, taken.total(), len(unknown)), [f"{name}: {number}" for name, number in wrong.items() if number]

"""Feed: makes the next messages of a campaign's run just ahead of need, and ends the run's stage when all are made.

Of a run of a million recipients a few thousand submissions wait in the ledger at a time. So it begins at once, and
stops at once. The place in the audience is noted in the transaction that keeps the messages. However many workers feed
a run at the same time, and even if one is killed, each member becomes a recipient once.
"""

import logging
from collections import defaultdict
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum
from functools import cache, partial

from redis import Redis
from sqlalchemy import Connection, Engine

from worker.campaigns.template import CompiledText, RowRefused, compile_text
from worker.domain.campaigns.audience import Member
from worker.domain.campaigns.campaign import (
    MAX_RUN_VALIDITY,
    Campaign,
    Leftover,
    Run,
    RunState,
    Stage,
    Window,
    caller_of,
    too_many_bad,
)
from worker.domain.message import Message, new_id
from worker.ledger.campaigns import audiences, campaigns, run_queue, runs
from worker.ledger.dialect import chunks
from worker.ledger.engine import reading
from worker.redis_store import bells
from worker.redis_store.lock import lock

log = logging.getLogger(__name__)

AHEAD = 2000
"""Submissions of a run that wait in the ledger: more than all the workers call between two ticks."""
MEMBERS_OF_ONE_TEXT, MEMBERS_OF_MANY = 10_000, 1_000
"""Members that are expanded in one transaction. One text for all goes in full calls; each personal text is a call."""
RECIPIENTS = 1_000
"""The most recipients of one message."""
CHECK_AGAIN = timedelta(seconds=5)
"""How often the results of a run are checked, where too many bad ones pause it."""
MAX_FEED_TIME = timedelta(seconds=0.2)
"""How long one run is fed at a time, but for one transaction at least.

Then the other runs of the process have their turn.
"""

LOST_SECONDS = 10
"""A transaction of feeding never takes this long.

After this time another worker goes on with the run of a killed worker.
"""
PASSED_ON_MS = 200
"""The time between bells for the workers that have a run's account. Where none has it, the run comes back at once."""

Accept = Callable[[Sequence[Message], Callable[[Connection], bool]], bool]
"""Keeps the messages in one transaction with what the function does, if the function returns True."""


class FeedOutcome(Enum):
    """What is left to do for a run that was fed."""

    ENOUGH = "enough"
    """Nothing now: the tick asks again."""
    MORE = "more"
    NOT_HERE = "not here"
    """The run is left to the workers that have its account."""


@dataclass(frozen=True, slots=True)
class Feeder:
    """What a worker feeds runs with.

    `ring` wakes the lane of that name, `random` returns that many random bytes. `own_accounts` are those of
    this worker. `known_accounts` returns those of all workers, or None where no worker has told.
    """

    engine: Engine
    accept: Accept
    window: Callable[[Campaign, datetime], Window | None]
    ring: Callable[[str], object]
    own_accounts: Collection[str]
    known_accounts: Callable[[], Collection[str] | None]
    random: Callable[[int], bytes]
    clock: Callable[[], datetime]


def feed_part(redis: Redis, feed_run: Callable[[int], FeedOutcome], queued: tuple[int, str]) -> bool:
    """Makes some of the next messages of a run, given by id and queue. Returns whether there are more to make.

    It makes none where another process feeds the run.
    """
    run_id, queue = queued
    # Workers of the version before this one know the lock and the task by these names.
    with lock(redis, f"launch:{run_id}", lost_seconds=LOST_SECONDS) as mine:
        outcome = feed_run(run_id) if mine else FeedOutcome.ENOUGH
    if outcome is FeedOutcome.NOT_HERE and redis.set(f"sms:passed-on:{run_id}", 1, nx=True, px=PASSED_ON_MS):
        bells.ring(redis, "sms.launch", run_id, queue=queue, fewer_than=bells.FEW)
    return outcome is FeedOutcome.MORE


def feed(feeder: Feeder, run_id: int) -> FeedOutcome:
    """Does some of what there is to do for a run now.

    A run whose account only other workers have is left to them. A run whose account no worker has is paused.
    """
    begun = feeder.clock()
    current = _under_way(feeder.engine, run_id)
    if current is None:
        return FeedOutcome.ENOUGH
    campaign, run = current
    if campaign.account not in feeder.own_accounts:
        is_nowhere = _pause_without_account(feeder.engine, campaign, feeder.known_accounts(), begun)
        return FeedOutcome.ENOUGH if is_nowhere else FeedOutcome.NOT_HERE
    if _close_window(feeder, campaign, run, begun) or _stop_if_bad(feeder.engine, campaign, run, begun):
        return FeedOutcome.ENOUGH
    text = cache(partial(compile_text, campaign.content, campaign.header))
    while current and _feed_next(feeder, *current, text):
        if feeder.clock() - begun >= MAX_FEED_TIME:
            return FeedOutcome.MORE
        current = _under_way(feeder.engine, run_id)
    return FeedOutcome.ENOUGH


def _under_way(engine: Engine, run_id: int) -> tuple[Campaign, Run] | None:
    with reading(engine) as connection:
        return runs.under_way(connection, run_id)


def _feed_next(feeder: Feeder, campaign: Campaign, run: Run, text: Callable[[], CompiledText]) -> bool:
    """Makes the messages of the next members. Returns False where enough wait, or none are left."""
    with reading(feeder.engine) as connection:
        if run_queue.waiting(connection, campaign, run, most=AHEAD) >= AHEAD:
            return False
        members = audiences.members_after(
            connection,
            campaign.audience_id,
            run.line,
            most=MEMBERS_OF_MANY if text().personal else MEMBERS_OF_ONE_TEXT,
            within=_share(campaign, run),
        )
    if not members:
        _conclude(feeder.engine, campaign, run, feeder.clock())
        return False
    texts, unrenderable = _by_text(text(), members)
    messages = _messages(campaign, run, texts, feeder.random, feeder.clock())
    expanded = len(members) - unrenderable
    advance = partial(runs.advance, run=run, line=members[-1].line, expanded=expanded, unrenderable=unrenderable)
    if feeder.accept(messages, advance):
        feeder.ring(campaign.lane)
    return True


def _share(campaign: Campaign, run: Run) -> tuple[float, float] | None:
    """The share of the audience that the stage of the run is for; None where it is for all of it."""
    if campaign.first_share is None:
        return None
    return (0.0, campaign.first_share) if run.stage is Stage.FIRST else (campaign.first_share, 1.0)


def _by_text(text: CompiledText, members: Sequence[Member]) -> tuple[dict[str, list[str]], int]:
    """Returns the mobiles by the text for them, and how many members have a row that makes no text."""
    mobiles: defaultdict[str, list[str]] = defaultdict(list)
    unrenderable = 0
    for member in members:
        try:
            mobiles[text.render(member.fields)].append(member.mobile)
        except RowRefused:
            # `sms campaign check` tells which rows, and why: before the campaign starts.
            unrenderable += 1
    return mobiles, unrenderable


def _messages(
    campaign: Campaign, run: Run, texts: dict[str, list[str]], random: Callable[[int], bytes], now: datetime
) -> list[Message]:
    """One message for each text, of up to RECIPIENTS."""
    expires_at = run.closes_at if campaign.leftover is Leftover.EXPIRE and run.closes_at else now + MAX_RUN_VALIDITY
    return [
        Message(
            id=new_id(now, random(10)),
            to=tuple(to),
            content=content,
            lane=campaign.lane,
            account=campaign.account,
            created_at=now,
            valid_for=expires_at - now,
            caller=caller_of(run.id),
            run_id=run.id,
        )
        for content, mobiles in texts.items()
        for to in chunks(mobiles, RECIPIENTS)
    ]


def _pause_without_account(engine: Engine, campaign: Campaign, known: Collection[str] | None, now: datetime) -> bool:
    """Pauses a campaign whose account is not among those `known`. Returns whether it is not."""
    if known is None or campaign.account in known:
        return False
    _pause(
        engine,
        campaign,
        f"no worker has the account {campaign.account!r}: put it back into the settings, then resume",
        now,
    )
    return True


def _close_window(feeder: Feeder, campaign: Campaign, run: Run, now: datetime) -> bool:
    """Ends a run whose window has closed, or gives it its next window. Returns whether the run may not send now."""
    if run.closes_at is None or now < run.closes_at:
        return now < run.opens_at
    window = feeder.window(campaign, now) if campaign.leftover is Leftover.CONTINUE else None
    with feeder.engine.begin() as connection:
        if window is not None:
            runs.reopen(connection, run, window)
        elif runs.end(connection, run, RunState.EXPIRED, reason="its window closed", now=now):
            log.warning("campaign %s: run %d expired, its window closed before all were sent to", campaign.name, run.id)
    return True


def _stop_if_bad(engine: Engine, campaign: Campaign, run: Run, now: datetime) -> bool:
    """Pauses the campaign if too many of its results are bad. Returns whether it has."""
    if campaign.stop_share is None:
        return False
    with engine.begin() as connection:
        if not runs.claim_check(connection, run, before=now - CHECK_AGAIN, now=now):
            return False
    with reading(engine) as connection:
        bad, known = runs.results(connection, run)
    if not too_many_bad(bad, known, campaign.stop_share):
        return False
    reason = f"{bad:,} of {known:,} results are rejected, undelivered or unknown, more than {campaign.stop_share:.1%}"
    return _pause(engine, campaign, reason, now)


def _pause(engine: Engine, campaign: Campaign, reason: str, now: datetime) -> bool:
    with engine.begin() as connection:
        paused = campaigns.pause(connection, campaign.id, reason=reason, by=campaigns.ITSELF, now=now)
    if paused:
        log.warning("campaign %s is paused: %s", campaign.name, reason)
    return paused


def _conclude(engine: Engine, campaign: Campaign, run: Run, now: datetime) -> None:
    """Ends the stage of a run that has made all its messages, once all of them are called."""
    with engine.begin() as connection:
        if run_queue.is_any_left(connection, campaign, run):
            return
        if run.stage is Stage.FIRST:
            reason = (
                f"its first {campaign.first_share:.1%} is out, {run.expanded:,} recipients:"
                " look at the results, then resume"
            )
            if runs.end_first_stage(connection, run, reason=reason, now=now):
                log.info("campaign %s is paused: %s", campaign.name, reason)
        elif runs.end(connection, run, RunState.DONE, now=now):
            log.info("run %d of campaign %s is done", run.id, campaign.name)

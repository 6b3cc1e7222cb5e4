"""Launch: the next messages of a campaign's run are made just ahead of need, and what there is to do when all are made.

Of a run of a million some thousand submissions wait in the ledger at a time: so it begins at once, and stops at once. How far it
has come in its audience is noted in the transaction that keeps the messages: whoever is killed, and however many do it at the same
time, each member becomes a recipient once.
"""

import logging
from collections import defaultdict
from collections.abc import Callable, Collection, Sequence
from datetime import datetime, timedelta
from enum import Enum
from functools import partial

from redis import Redis
from sqlalchemy import Connection, Engine

from worker.campaigns.template import RowRefused, Text, compile_text
from worker.domain.campaigns.audience import Member
from worker.domain.campaigns.campaign import (
    LASTS,
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
from worker.redis_store.lock import alone

log = logging.getLogger(__name__)

AHEAD = 2000
"""So many submissions of a run wait in the ledger: more than all the workers call between two ticks."""
MEMBERS_OF_ONE_TEXT, MEMBERS_OF_MANY = 10_000, 1_000
"""So many members are made recipients in one transaction: one text for all goes in full calls, of personal texts each is a call."""
RECIPIENTS = 1_000
"""Of one message at most."""
LOOK_AGAIN = timedelta(seconds=5)
"""How often the results of a run are looked at, where it stops by itself."""
LONGEST = timedelta(seconds=0.2)
"""So long one run is prepared at a time, but for one transaction at least; then the others of the process have their turn."""

LAUNCH_SECONDS = 10
"""Longer than the next members of a run ever take: so much later another worker goes on with the run of one that was killed."""
PASSED_ON_MS = 200
"""From one bell for the workers that have a run's account to the next: it may come back at once, where none has it."""

Accept = Callable[[Sequence[Message], Callable[[Connection], bool]], bool]
"""Keeps the messages in one transaction with what the function does, if that says True."""


class Launched(Enum):
    """What there is left to do for a run."""

    ENOUGH = "enough"
    """Nothing now: the tick asks again."""
    MORE = "more"
    NOT_HERE = "not here"
    """It is left to the workers that have its account."""


def launch_part(redis: Redis, launch_one: Callable[[int], Launched], of: tuple[int, str]) -> bool:
    """Makes some of the next messages of a run, by its number and queue, if no other process does; whether there are more to make."""
    run_id, queue = of
    with alone(redis, f"launch:{run_id}", lost_seconds=LAUNCH_SECONDS) as mine:
        launched = launch_one(run_id) if mine else Launched.ENOUGH
    if launched is Launched.NOT_HERE and redis.set(f"sms:passed-on:{run_id}", 1, nx=True, px=PASSED_ON_MS):
        bells.ring(redis, "sms.launch", run_id, queue=queue, fewer_than=bells.FEW)
    return launched is Launched.MORE


def launch(
    engine: Engine,
    run_id: int,
    *,
    accept: Accept,
    window: Callable[[Campaign, datetime], Window | None],
    ring: Callable[[str], object],
    here: Collection[str],
    anywhere: Callable[[], Collection[str] | None],
    random: Callable[[int], bytes],
    clock: Callable[[], datetime],
) -> Launched:
    """Does some of what there is to do for a run now. `ring` has the lane of that name worked on; `random` gives so many random bytes.

    `here` are the accounts of this worker, and `anywhere` gives those of all, None where nobody has told. A run of an account that is
    only elsewhere is left to those workers, and one of an account that is nowhere is paused.
    """
    begun = clock()
    found = _under_way(engine, run_id)
    if found is not None and found[0].account not in here:
        nowhere = _is_paused_without_account(engine, found[0], anywhere(), begun)
        return Launched.ENOUGH if nowhere else Launched.NOT_HERE
    if found is None or _is_shut(engine, *found, window, begun) or _goes_badly(engine, *found, begun):
        return Launched.ENOUGH
    text: Text | None = None
    while found:
        campaign, run = found
        with reading(engine) as connection:
            if run_queue.waiting(connection, campaign, run, most=AHEAD) >= AHEAD:
                return Launched.ENOUGH
            text = text or compile_text(campaign.content, campaign.header)
            members = audiences.members_after(
                connection,
                campaign.audience_id,
                run.line,
                most=MEMBERS_OF_MANY if text.personal else MEMBERS_OF_ONE_TEXT,
                within=_part(campaign, run),
            )
        if not members:
            _conclude(engine, campaign, run, clock())
            return Launched.ENOUGH
        messages, refused = _messages(campaign, run, text, members, random, clock())
        made = len(members) - refused
        if accept(messages, partial(runs.advance, run=run, line=members[-1].line, expanded=made, unrenderable=refused)):
            ring(campaign.lane)
        if clock() - begun >= LONGEST:
            return Launched.MORE
        found = _under_way(engine, run_id)
    return Launched.ENOUGH


def _under_way(engine: Engine, run_id: int) -> tuple[Campaign, Run] | None:
    with reading(engine) as connection:
        return runs.under_way(connection, run_id)


def _is_paused_without_account(
    engine: Engine, campaign: Campaign, known: Collection[str] | None, now: datetime
) -> bool:
    """Pauses a campaign whose account is not among those `known`; whether it is not."""
    if known is None or campaign.account in known:
        return False
    reason = f"no worker has the account {campaign.account!r}: put it back into the settings, then resume"
    with engine.begin() as connection:
        paused = campaigns.pause(connection, campaign.id, reason=reason, by=campaigns.ITSELF, now=now)
    if paused:
        log.warning("campaign %s is paused: %s", campaign.name, reason)
    return True


def _is_shut(
    engine: Engine,
    campaign: Campaign,
    run: Run,
    window: Callable[[Campaign, datetime], Window | None],
    now: datetime,
) -> bool:
    """Whether the run may not send now. One whose window has closed gets its next, or ends."""
    if run.closes_at is None or now < run.closes_at:
        return now < run.opens_at
    opens = window(campaign, now) if campaign.leftover is Leftover.CONTINUE else None
    with engine.begin() as connection:
        if opens is not None:
            runs.reopen(connection, run, opens)
        elif runs.end(connection, run, RunState.EXPIRED, reason="its window closed", now=now):
            log.warning("campaign %s: run %d expired, its window closed before all were sent to", campaign.name, run.id)
    return True


def _goes_badly(engine: Engine, campaign: Campaign, run: Run, now: datetime) -> bool:
    """Whether the campaign is paused now, for too many of its results are bad."""
    if campaign.stop_share is None:
        return False
    with engine.begin() as connection:
        if not runs.claim_check(connection, run, before=now - LOOK_AGAIN, now=now):
            return False
    with reading(engine) as connection:
        bad, known = runs.results(connection, run)
    if not too_many_bad(bad, known, campaign.stop_share):
        return False
    reason = f"{bad:,} of {known:,} results are rejected, undelivered or unknown, more than {campaign.stop_share:.1%}"
    with engine.begin() as connection:
        paused = campaigns.pause(connection, campaign.id, reason=reason, by=campaigns.ITSELF, now=now)
    if paused:
        log.warning("campaign %s is paused: %s", campaign.name, reason)
    return paused


def _part(campaign: Campaign, run: Run) -> tuple[float, float] | None:
    """Which part of the audience the stage of the run is for; None where it is for all of it."""
    if campaign.first_share is None:
        return None
    return (0.0, campaign.first_share) if run.stage is Stage.FIRST else (campaign.first_share, 1.0)


def _messages(
    campaign: Campaign, run: Run, text: Text, members: Sequence[Member], random: Callable[[int], bytes], now: datetime
) -> tuple[list[Message], int]:
    """The messages for these members, one for each text of up to RECIPIENTS; and how many members have a row that makes none."""
    expires_at = run.closes_at if campaign.leftover is Leftover.EXPIRE and run.closes_at else now + LASTS
    mobiles: defaultdict[str, list[str]] = defaultdict(list)
    refused = 0
    for member in members:
        try:
            mobiles[text.render(member.fields)].append(member.mobile)
        except RowRefused:
            # `sms campaign check` tells which rows, and why: before the campaign starts.
            refused += 1
    messages = [
        Message(
            id=new_id(now, random(10)),
            to=tuple(some),
            content=content,
            lane=campaign.lane,
            account=campaign.account,
            created_at=now,
            valid_for=expires_at - now,
            caller=caller_of(run.id),
            run_id=run.id,
        )
        for content, of_text in mobiles.items()
        for some in chunks(of_text, RECIPIENTS)
    ]
    return messages, refused


def _conclude(engine: Engine, campaign: Campaign, run: Run, now: datetime) -> None:
    """Ends the stage of a run that has made all its messages, once all of them are called."""
    with engine.begin() as connection:
        if run_queue.is_any_left(connection, campaign, run):
            return
        if run.stage is Stage.FIRST:
            reason = f"its first {campaign.first_share:.1%} is out, {run.expanded:,} recipients: look at the results, then resume"
            if runs.end_first_stage(connection, run, reason=reason, now=now):
                log.info("campaign %s is paused: %s", campaign.name, reason)
        elif runs.end(connection, run, RunState.DONE, now=now):
            log.info("run %d of campaign %s is done", run.id, campaign.name)

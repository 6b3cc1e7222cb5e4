"""Builds the real parts from the settings, once in each process and when they are first needed."""

import logging
import math
import os
import random
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import cache, partial
from threading import Event, Semaphore
from zoneinfo import ZoneInfo

import requests
from redis import Redis
from redis.exceptions import RedisError
from sqlalchemy import Connection, Engine

from worker import bells, complaints, intake
from worker.accept import Accept, Count, accept, accept_from_intake, refuse
from worker.broker import is_redis_away, open_redis
from worker.clock import ClockGuard
from worker.config import Settings, load_settings, revealed
from worker.domain.campaign import Window, hours_of, window
from worker.domain.caps import Capped
from worker.domain.hours import earliest, read_hours
from worker.domain.lane import CALLS_AT_ONCE, Lane
from worker.domain.message import Message, as_known
from worker.domain.outcome import Outcome, Verdict
from worker.gateway.client import Call, Credentials, Endpoint, open_session, send, why_unreachable
from worker.keep_gate import accepted_since, gate_keeper, unknown_in_a_row
from worker.launch import launch, launch_part
from worker.ledger import accounts as ledger_accounts
from worker.ledger import turns
from worker.ledger.accounts import MSG_ID_END, MsgIds
from worker.ledger.campaigns import Campaign
from worker.ledger.engine import open_engine, with_lock_wait
from worker.ledger.patience import patient
from worker.ledger.submissions import Recorded
from worker.ledger.turns import Claimed
from worker.limits import caps
from worker.limits.alone import alone
from worker.limits.rate import Grant, take
from worker.loop import Turns
from worker.pull import NO_LOOK, Allow, MaySend, Pulled, pull
from worker.reachability import Reachability, tell
from worker.record import recorder
from worker.serve import Server, Verbs
from worker.submit import submit

log = logging.getLogger(__name__)

ASK_AGAIN_SECONDS = 1.0
"""When to ask for tokens again that Redis was not there to give."""
CONNECTIONS = 10
"""To PostgreSQL, of one process: each lane accepts, claims and records beside the others and the tick. Pushes have their own."""
PUSHES_AT_ONCE = 8
"""Of one process, and at most half of its task threads: the tick finds a thread beside them."""
WAITER_SECONDS = 2
"""A process that waits for tokens asks again by then, or was lost: the tick rings for its lane meanwhile."""

ANNOUNCE_SECONDS = 60.0

STOPPING = Event()
"""Set when this process is told to end: what is under way is finished, and nothing new begun."""


Launches = Turns[tuple[int, str]]
"""The runs of campaigns to be launched here, each by its number and the queue of its lane."""


def utc_now() -> datetime:
    """The clock of the system."""
    return datetime.now(UTC)


@dataclass(frozen=True)
class Parts:
    """What the tasks of one process work with."""

    settings: Settings
    engine: Engine
    redis: Redis
    account_ids: Mapping[str, int]
    accounts_of_pushes: Mapping[tuple[str, str], int]
    accept: Accept
    launches: Launches
    window: Callable[[Campaign, datetime], Window | None]
    may_send: MaySend
    pull: Callable[[Lane, int], Pulled]
    claim_probe: Callable[[int], Sequence[Claimed] | None]
    """Claims a probe for that account. None where only another process may make one."""
    call: Callable[[Claimed], Outcome]
    records: Mapping[str, Callable[[Recorded], None]]
    """Writes down what became of a call, for each lane by its name: none waits for the rows of another."""
    keep_gate: Callable[[Claimed, Outcome], None]
    servers: Mapping[str, Server]
    """What serves each lane here, by its name."""
    clock: ClockGuard
    """The time of this process, and whether it may work by it: asked before anything is taken, expired or called."""
    push_engine: Engine
    """The ledger for pushes, which come again where they do not get a lock in time."""
    push_room: Semaphore
    """Held by each push that is being processed here."""
    announce: Callable[[], object]
    """Tells, once a minute, which accounts this process has."""


@cache
def parts(concurrency: int) -> Parts:
    """The parts of this process, for as many threads as it has."""
    settings = load_settings("worker")
    engine = open_engine(revealed(settings.ledger_url), connections=CONNECTIONS)
    pushes_at_once = max(1, min(PUSHES_AT_ONCE, concurrency // 2))
    account_ids = register_accounts(engine, settings)
    msg_ids = MsgIds(engine)

    redis = open_redis(revealed(settings.redis_url), patience_seconds=5)
    clock = ClockGuard(redis, engine, complaints.name(), clock=utc_now, monotonic=time.monotonic)
    allow = allowance(redis, settings, account_ids)

    def room(wanted: Collection[Capped]) -> dict[Capped, int]:
        return caps.room(redis, settings.lanes, wanted, now=clock.now())

    def accept_if(messages: Sequence[Message], only_if: Callable[[Connection], bool]) -> bool:
        return accept(
            engine,
            msg_ids,
            account_ids,
            messages,
            max_mobiles=lambda account, lane: largest_call(settings, account, lane),
            lanes=settings.lanes,
            earliest=lambda account, lane, at: earliest(lane.hours, settings.accounts[account].time_zone, at),
            # Waited for here, rather than given back and taken in again.
            room=patient(room, STOPPING.wait, away=is_redis_away, whom="Redis, which has the caps,"),
            count=counter(redis, settings, clock.time),
            now=clock.now(),
            only_if=only_if,
        )

    def accept_all(messages: Sequence[Message]) -> bool:
        return accept_if([as_known(message, settings.callers) for message in messages], lambda _: True)

    accept_together = patient(accept_all, STOPPING.wait)

    zones = {account_ids[name]: account.time_zone for name, account in settings.accounts.items()}

    def may_send(account_id: int, lane: Lane, now: datetime) -> bool:
        return account_id in zones and earliest(lane.hours, zones[account_id], now) == now

    session = open_session(len(settings.lanes) * concurrency * CALLS_AT_ONCE, settings.gateway_ca)
    reach = Reachability(
        connect=lambda: why_unreachable(session, endpoint(settings)),
        tell=partial(tell, redis),
        pause=STOPPING.wait,
        monotonic=time.monotonic,
        random=random.random,
    )

    looks = dict.fromkeys(settings.lanes, NO_LOOK)

    def pull_lane(lane: Lane, places: int) -> Pulled:
        pulled = pull(
            engine,
            lane,
            places,
            may_send=may_send,
            allow=allow,
            random=random.random,
            now=clock.now(),
            lease=settings.lease,
            last=looks[lane.name],
        )
        looks[lane.name] = pulled.look
        return pulled

    in_a_row = unknown_in_a_row(
        engine,
        redis,
        {number: name for name, number in account_ids.items()},
        most=settings.unknown_in_a_row,
        lease=settings.lease,
    )

    def claim_probe(account_id: int) -> Sequence[Claimed] | None:
        if account_id not in zones or not reach.may_probe():
            return None
        [msg_id] = msg_ids.take(account_id, 1)
        with engine.begin() as connection:
            now = clock.now()
            lanes = [lane.name for lane in settings.lanes.values() if may_send(account_id, lane, now)]
            return turns.claim_probe(connection, account_id, lanes, msg_id=msg_id, now=now, lease=settings.lease)

    refuse_in_the_end = patient(partial(refuse, engine), STOPPING.wait)
    pull_in_the_end = patient(pull_lane, STOPPING.wait)
    call = open_gateway(settings, account_ids, session, clock.time)
    # Even while the process ends: what came of a call is known here alone, and without it the submission is `unknown`.
    records = {name: recorder(engine, clock=clock.time, pause=time.sleep) for name in settings.lanes}
    keep = patient(gate_keeper(engine, in_a_row, clock.time), STOPPING.wait)
    was_accepted_since = patient(partial(accepted_since, engine), STOPPING.wait)

    def keep_and_note(claimed: Claimed, outcome: Outcome) -> None:
        reach.note(outcome, clock.time())
        keep(claimed, outcome)
        since = reach.doubted_since
        if since is not None and outcome.is_unanswered and was_accepted_since(claimed.account_id, since):
            reach.others_are_answered(outcome)

    submit_claimed = partial(
        submit,
        call=call,
        keep_gate=keep_and_note,
        clock=clock.time,
        random=random.random,
        resend=settings.resend_lanes,
    )

    def server_of(lane: Lane) -> Server:
        verbs = Verbs(
            may_work=clock.may_work,
            most_calls=reach.most_calls,
            take_in=lambda: accept_from_intake(
                redis, accept_together, refuse_in_the_end, lane, account_ids, now=clock.now()
            ),
            pull=partial(pull_in_the_end, lane),
            submit=partial(submit_claimed, record=records[lane.name]),
            ring=lambda: bells.ring_lane(redis, lane),
            only_waiter=lambda: alone(redis, f"wait:{lane.name}", lost_seconds=WAITER_SECONDS),
        )
        return Server(lane.name, verbs, calls_at_once=concurrency * CALLS_AT_ONCE, stopping=STOPPING)

    servers = {lane.name: server_of(lane) for lane in settings.lanes.values()}

    launch_one = partial(
        launch,
        engine,
        accept=accept_if,
        window=partial(window_of, settings),
        ring=lambda lane: servers[lane].wake(),
        here=account_ids,
        anywhere=lambda: intake.all_accounts(redis, now=clock.now()),
        random=os.urandom,
        clock=clock.now,
    )
    launches: Launches = Turns(partial(launch_part, redis, launch_one), name="launch", stopping=STOPPING)

    return Parts(
        settings=settings,
        engine=engine,
        redis=redis,
        account_ids=account_ids,
        accounts_of_pushes={
            (str(account.epr_id), account.user_id): account_ids[name] for name, account in settings.accounts.items()
        },
        accept=accept_together,
        launches=launches,
        window=partial(window_of, settings),
        may_send=may_send,
        pull=pull_in_the_end,
        claim_probe=patient(claim_probe, STOPPING.wait),
        call=call,
        records=records,
        keep_gate=keep_and_note,
        servers=servers,
        push_engine=with_lock_wait(engine, connections=pushes_at_once),
        push_room=Semaphore(pushes_at_once),
        clock=clock,
        announce=announcing(redis, settings.accounts, clock.time, time.monotonic),
    )


def register_accounts(engine: Engine, settings: Settings) -> dict[str, int]:
    """The numbers of the accounts of the settings, which are in the ledger from now on."""
    with engine.begin() as connection:
        # A ledger that begins anew does not give out the msgIds of the last one, whose reports may still come.
        now = utc_now()
        start = int(now.timestamp()) % MSG_ID_END
        numbers = ledger_accounts.register(connection, settings.accounts, first_msg_id=start, now=now)
        ledger_accounts.note_credentials(connection, settings.credentials)
    return {name: numbers[name] for name in settings.accounts}


def announcing(
    redis: Redis, accounts: Collection[str], clock: Callable[[], datetime], monotonic: Callable[[], float]
) -> Callable[[], None]:
    """Tells the accounts to all when it is called, if the last time is a minute ago or Redis could not be told."""
    told_at = -math.inf

    def announce() -> None:
        nonlocal told_at
        if monotonic() - told_at < ANNOUNCE_SECONDS:
            return
        try:
            intake.announce(redis, accounts, now=clock())
        except RedisError as why:
            log.warning("clients cannot be told of the accounts of this worker, for Redis is away: %s", why)
        else:
            told_at = monotonic()

    return announce


def window_of(settings: Settings, campaign: Campaign, at: datetime) -> Window | None:
    """The next window of a campaign from `at` on: within the hours of its lane, in its account's zone, and its own in its own."""
    own_zone = ZoneInfo(campaign.time_zone)
    account = settings.accounts.get(campaign.account)
    own = read_hours(campaign.hours) if campaign.hours else None
    hours = hours_of(settings.lanes[campaign.lane].hours, account.time_zone if account else own_zone, own, own_zone)
    return window(hours, at)


def allowance(redis: Redis, settings: Settings, account_ids: Mapping[str, int]) -> Allow:
    """What the rates of the accounts allow. While Redis cannot be asked nothing is sent, rather than without a limit."""
    rates = {account_ids[name]: (name, account.limit) for name, account in settings.accounts.items()}

    def allow(account_id: int, lane: Lane, sizes: Sequence[int]) -> Grant:
        name, rate = rates[account_id]
        try:
            return take(redis, name, rate, lane.floor, sizes)
        except RedisError as why:
            log.warning("nothing is sent while Redis cannot be asked for tokens: %s", why)
            return Grant(0, ASK_AGAIN_SECONDS)

    return allow


def largest_call(settings: Settings, account: str, lane: Lane) -> int:
    """How many mobiles a call of that account and lane may have, so that the account's rate always has room for it."""
    return settings.accounts[account].limit.largest_call(settings.max_mobiles, lane.floor)


def counter(redis: Redis, settings: Settings, clock: Callable[[], datetime]) -> Count:
    """Counts whom the lanes' caps count. It never raises: what it counts is in the ledger, and to be sent."""

    def count(sent: Sequence[Capped]) -> None:
        try:
            past = caps.count(redis, settings.lanes, sent, now=clock())
        except RedisError as why:
            log.warning("%d recipients are sent to and not counted by the caps: %s", len(sent), why)
            return
        if past:
            log.warning(
                "%d recipients are sent to beyond a cap: several messages came to them at the same moment", past
            )

    return count


def endpoint(settings: Settings) -> Endpoint:
    """Where the gateway is and how it is called."""
    return Endpoint(
        url=settings.gateway_url,
        method=settings.gateway_method,
        reply_format=settings.gateway_format,
        connect_timeout_seconds=settings.connect_timeout,
        read_timeout_seconds=settings.read_timeout,
    )


def open_gateway(
    settings: Settings, account_ids: Mapping[str, int], session: requests.Session, clock: Callable[[], datetime]
) -> Callable[[Claimed], Outcome]:
    """The function that makes the call of a claimed submission, with what has been learnt of the gateway's clock."""
    where = endpoint(settings)
    endpoints = {
        account_ids[name]: replace(where, not_taken=account.not_taken) for name, account in settings.accounts.items()
    }
    credentials = {
        account_ids[name]: Credentials(account.epr_id, account.user_id, account.password)
        for name, account in settings.accounts.items()
    }
    # How far the gateway's clock is ahead of ours, as last seen when it found our timestamp out of date.
    skews: dict[int, timedelta] = {}

    def call(claimed: Claimed) -> Outcome:
        if claimed.account_id not in credentials:
            # Not its gate: other workers may have it.
            return Outcome(Verdict.BUSY, tips="this worker does not have the account", retry_after=timedelta(0))
        if clock() > claimed.until - where.longest:
            # The ledger or this process stood still. A call now could outlast its lease and be taken for lost meanwhile.
            return Outcome(Verdict.BUSY, tips="too little of its lease was left for a call", retry_after=timedelta(0))
        outcome = send(
            session,
            endpoints[claimed.account_id],
            credentials[claimed.account_id],
            Call(claimed.msg_id, claimed.mobiles, claimed.content),
            clock=clock,
            skew=skews.get(claimed.account_id, timedelta(0)),
        )
        if outcome.verdict is Verdict.CLOCK and outcome.skew is not None:
            skews[claimed.account_id] = outcome.skew
        return outcome

    return call

"""Builds the real parts from the settings, once in each process, when they are first needed."""

import os
import random
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache, partial
from threading import Semaphore

from redis import Redis
from redis.exceptions import RedisError
from sqlalchemy import Connection, Engine
from sqlalchemy.exc import OperationalError

from worker.campaigns.feed import Feeder, feed, feed_part
from worker.campaigns.window import window_of
from worker.config import Settings, load_settings, revealed
from worker.domain.caller import with_known_caller
from worker.domain.campaigns.campaign import Campaign, Window
from worker.domain.caps import CapKey
from worker.domain.clock import WrongClock
from worker.domain.lane import CALLS_AT_ONCE, Lane
from worker.domain.message import MSG_ID_END, Message
from worker.domain.policy import AccountPolicy, Policy
from worker.domain.submission import Recorded
from worker.gateway.client import Session, endpoint, open_session, why_unreachable
from worker.ledger.engine import open_engine, with_lock_wait
from worker.ledger.errors import is_away as is_ledger_away
from worker.ledger.errors import retried
from worker.ledger.sending import accounts
from worker.ledger.sending.accounts import MsgIds
from worker.maintenance.clock_guard import ClockGuard
from worker.redis_store import bells, caps
from worker.redis_store.accounts import announcing, known_to_all
from worker.redis_store.connect import is_redis_away, open_redis
from worker.redis_store.lock import lock
from worker.redis_store.rate import allowance
from worker.redis_store.sick_workers import report_health
from worker.runtime.loop import RoundRobin
from worker.runtime.process import STOPPING, process_name, utc_now
from worker.runtime.retry import retried_while
from worker.sending.accept import Reception, accept
from worker.sending.breaker import accepted_since, breaker, unknown_in_a_row
from worker.sending.call import open_gateway
from worker.sending.probe import ClaimProbe, prober
from worker.sending.pull import Pulled, Terms, puller
from worker.sending.reachability import Reachability, noting
from worker.sending.record import recorder
from worker.sending.serve import Server, Verbs
from worker.sending.submit import Means, submit
from worker.sending.take_in import Accept, refuse, take_in

CONNECTIONS = 10
"""The connections of one process to PostgreSQL. Each lane accepts, claims and records beside the other lanes and the
tick. Pushes have their own connections.
"""
PUSHES_AT_ONCE = 8
"""The pushes of one process at once, which take at most half of its task threads. So the tick finds a free one."""
WAITER_SECONDS = 2
"""A process that waits for tokens asks again within this time, or was lost. The tick rings for its lane meanwhile."""

Feeds = RoundRobin[tuple[int, str]]
"""The campaign runs that are fed here, each by its id and the queue of its lane."""


@dataclass(frozen=True)
class Base:
    """The settings, stores and clock that all parts of a process stand on."""

    settings: Settings
    policy: Policy
    engine: Engine
    redis: Redis
    clock: ClockGuard
    """The time of this process, and whether it may work by it. It is asked before anything is taken, expired or called.
    """


@dataclass(frozen=True)
class Sending:
    """The parts that serve every lane of a process."""

    reception: Reception
    accept: Accept
    pull: Callable[[Lane, int], Pulled]
    reach: Reachability
    means: Means
    records: Mapping[str, Callable[[Recorded], None]]
    """The function that records an outcome, by the name of the lane: no lane waits for the rows of another."""
    claim_probe: ClaimProbe


@dataclass(frozen=True)
class Parts:
    """The parts that the tasks of one process work with."""

    base: Base
    sending: Sending
    servers: Mapping[str, Server]
    """The server of each lane, by its name."""
    feeds: Feeds
    window: Callable[[Campaign, datetime], Window | None]
    accounts_of_pushes: Mapping[tuple[str, str], int]
    """The id of each account, by the eprId and the userId that pushes name it by."""
    push_engine: Engine
    """The ledger for pushes. A push that does not get a lock in time is tried again."""
    push_room: Semaphore
    """Held by each push that is being processed here."""
    announce: Callable[[], object]
    """Announces, once a minute, which accounts this process has."""


@cache
def build_parts(concurrency: int) -> Parts:
    """Builds the parts of this process for that many task threads, once: later calls return the same parts."""
    base = _base(load_settings("worker"))
    settings, policy = base.settings, base.policy
    sending = _sending(base, open_session(len(policy.lanes) * concurrency * CALLS_AT_ONCE, settings.gateway_ca))
    servers = {
        lane.name: Server(
            lane.name, _verbs(base, sending, lane), calls_at_once=concurrency * CALLS_AT_ONCE, stopping=STOPPING
        )
        for lane in policy.lanes.values()
    }
    pushes_at_once = max(1, min(PUSHES_AT_ONCE, concurrency // 2))
    return Parts(
        base=base,
        sending=sending,
        servers=servers,
        feeds=_feeds(base, sending.reception, servers),
        window=partial(window_of, settings),
        accounts_of_pushes={
            (str(account.epr_id), account.user_id): policy.account_ids[name]
            for name, account in settings.accounts.items()
        },
        push_engine=with_lock_wait(base.engine, connections=pushes_at_once),
        push_room=Semaphore(pushes_at_once),
        announce=announcing(base.redis, settings.accounts, base.clock.time, time.monotonic),
    )


def is_store_away(error: Exception) -> bool:
    """Returns whether an error says that Redis or the ledger is away, or that this machine does not know the time."""
    return isinstance(error, RedisError | WrongClock) or (isinstance(error, OperationalError) and is_ledger_away(error))


def _base(settings: Settings) -> Base:
    engine = open_engine(revealed(settings.ledger_url), connections=CONNECTIONS)
    redis = open_redis(revealed(settings.redis_url), patience_seconds=5)
    ids = _register_accounts(engine, settings)
    accounts_by_name = {
        name: AccountPolicy(ids[name], account.time_zone, account.limit) for name, account in settings.accounts.items()
    }
    return Base(
        settings=settings,
        policy=Policy(settings.lanes, accounts_by_name, settings.max_mobiles),
        engine=engine,
        redis=redis,
        clock=ClockGuard(redis, engine, process_name(), clock=utc_now, monotonic=time.monotonic),
    )


def _register_accounts(engine: Engine, settings: Settings) -> dict[str, int]:
    """Registers the accounts of the settings in the ledger. Returns their ids, by name."""
    with engine.begin() as connection:
        # A new ledger must not give out the msgIds of a former one, whose reports may still come.
        now = utc_now()
        first_msg_id = int(now.timestamp()) % MSG_ID_END
        ids = accounts.register(connection, settings.accounts, first_msg_id=first_msg_id, now=now)
        accounts.note_credentials(connection, settings.credentials)
    return ids


def _sending(base: Base, session: Session) -> Sending:
    settings, policy, engine, clock = base.settings, base.policy, base.engine, base.clock
    reach = Reachability(
        connect=lambda: why_unreachable(session, endpoint(settings)),
        tell=partial(report_health, base.redis),
        pause=STOPPING.wait,
        monotonic=time.monotonic,
        random=random.random,
    )
    reception = _reception(base)
    rates = {account.id: (name, account.rate) for name, account in policy.accounts.items()}
    terms = Terms(policy, allowance(base.redis, rates), random.random, settings.lease)
    probe = prober(engine, reception.msg_ids, policy, may_probe=reach.may_probe, clock=clock.now, lease=settings.lease)
    return Sending(
        reception=reception,
        accept=retried(partial(_accept_known, reception, settings.callers, clock.now), STOPPING.wait),
        pull=retried(puller(engine, terms, clock.now), STOPPING.wait),
        reach=reach,
        means=_means(base, session, reach),
        # These retry even while the process ends. Only this process knows the outcome of a call, and without it the
        # submission is `unknown`.
        records={name: recorder(engine, clock=clock.time, pause=time.sleep) for name in policy.lanes},
        claim_probe=retried(probe, STOPPING.wait),
    )


def _reception(base: Base) -> Reception:
    redis, policy, clock = base.redis, base.policy, base.clock

    def room(wanted: Collection[CapKey]) -> dict[CapKey, int]:
        return caps.room(redis, policy.lanes, wanted, now=clock.now())

    return Reception(
        base.engine,
        MsgIds(base.engine),
        policy,
        # It waits here, instead of giving the messages back and taking them in again.
        room=retried_while(room, STOPPING.wait, is_away=is_redis_away, store="Redis, which has the caps,"),
        count=caps.counter(redis, policy.lanes, clock.time),
    )


def _accept_known(
    reception: Reception, callers: Collection[str], clock: Callable[[], datetime], messages: Sequence[Message]
) -> bool:
    return accept(reception, [with_known_caller(message, callers) for message in messages], now=clock())


def _means(base: Base, session: Session, reach: Reachability) -> Means:
    settings, engine, clock = base.settings, base.engine, base.clock
    account_names = {account_id: name for name, account_id in base.policy.account_ids.items()}
    in_a_row = unknown_in_a_row(engine, base.redis, account_names, most=settings.unknown_in_a_row, lease=settings.lease)
    return Means(
        call=open_gateway(settings, base.policy.account_ids, session, clock.time),
        note=noting(
            reach,
            retried(breaker(engine, in_a_row, clock.time), STOPPING.wait),
            retried(partial(accepted_since, engine), STOPPING.wait),
            clock.time,
        ),
        clock=clock.time,
        random=random.random,
        resend=settings.resend_lanes,
    )


def _verbs(base: Base, sending: Sending, lane: Lane) -> Verbs:
    redis, clock, account_ids = base.redis, base.clock, base.policy.account_ids
    refuse_retried = retried(partial(refuse, base.engine), STOPPING.wait)
    return Verbs(
        may_work=clock.may_work,
        take_call_allowance=sending.reach.take_call_allowance,
        take_in=lambda: take_in(redis, sending.accept, refuse_retried, lane, account_ids, now=clock.now()),
        pull=partial(sending.pull, lane),
        submit=partial(submit, means=sending.means, record=sending.records[lane.name]),
        ring=lambda: bells.ring_lane(redis, lane),
        is_away=is_store_away,
        only_waiter=lambda: lock(redis, f"wait:{lane.name}", lost_seconds=WAITER_SECONDS),
    )


def _feeds(base: Base, reception: Reception, servers: Mapping[str, Server]) -> Feeds:
    def accept_if(messages: Sequence[Message], only_if: Callable[[Connection], bool]) -> bool:
        return accept(reception, messages, now=base.clock.now(), only_if=only_if)

    feeder = Feeder(
        base.engine,
        accept=accept_if,
        window=partial(window_of, base.settings),
        ring=lambda lane: servers[lane].wake(),
        own_accounts=base.policy.account_ids,
        known_accounts=lambda: known_to_all(base.redis, now=base.clock.now()),
        random=os.urandom,
        clock=base.clock.now,
    )
    return RoundRobin(
        partial(feed_part, base.redis, partial(feed, feeder)), name="feed", stopping=STOPPING, is_away=is_store_away
    )

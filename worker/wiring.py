"""Builds the real parts from the settings, once in each process and when they are first needed."""

import logging
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
from worker.domain.campaigns.campaign import Campaign, Window
from worker.domain.caps import Capped
from worker.domain.clock import WrongClock
from worker.domain.hours import earliest
from worker.domain.lane import CALLS_AT_ONCE, Lane
from worker.domain.message import MSG_ID_END, Message, as_known
from worker.domain.outcome import Outcome
from worker.gateway.client import endpoint, open_session, why_unreachable
from worker.ledger.engine import open_engine, with_lock_wait
from worker.ledger.errors import is_away as is_ledger_away
from worker.ledger.errors import retried
from worker.ledger.sending import accounts, claims
from worker.ledger.sending.accounts import MsgIds
from worker.ledger.sending.claims import Claimed
from worker.ledger.sending.submissions import Recorded
from worker.maintenance.clock_guard import ClockGuard
from worker.redis_store import bells, caps, complaints
from worker.redis_store.accounts import announcing, known_to_all
from worker.redis_store.connect import is_redis_away, open_redis
from worker.redis_store.lock import alone
from worker.redis_store.rate import allowance
from worker.redis_store.sick_workers import tell
from worker.runtime.loop import Turns
from worker.runtime.process import STOPPING, utc_now
from worker.runtime.retry import retried as retried_while
from worker.sending.accept import Accept, accept, accept_from_intake, refuse
from worker.sending.breaker import accepted_since, gate_keeper, unknown_in_a_row
from worker.sending.call import open_gateway
from worker.sending.pull import NO_LOOK, MaySend, Pulled, pull
from worker.sending.reachability import Reachability
from worker.sending.record import recorder
from worker.sending.serve import Server, Verbs
from worker.sending.submit import submit

log = logging.getLogger(__name__)

CONNECTIONS = 10
"""To PostgreSQL, of one process: each lane accepts, claims and records beside the others and the tick. Pushes have their own."""
PUSHES_AT_ONCE = 8
"""Of one process, and at most half of its task threads: the tick finds a thread beside them."""
WAITER_SECONDS = 2
"""A process that waits for tokens asks again by then, or was lost: the tick rings for its lane meanwhile."""

Launches = Turns[tuple[int, str]]
"""The runs of campaigns to be launched here, each by its number and the queue of its lane."""


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


def is_store_away(error: Exception) -> bool:
    """Whether an error says that Redis or the ledger is away, or that nobody here knows the time."""
    return isinstance(error, RedisError | WrongClock) or (isinstance(error, OperationalError) and is_ledger_away(error))


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
    allow = allowance(redis, {account_ids[name]: (name, account.limit) for name, account in settings.accounts.items()})

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
            room=retried_while(room, STOPPING.wait, is_away=is_redis_away, store="Redis, which has the caps,"),
            count=caps.counter(redis, settings.lanes, clock.time),
            now=clock.now(),
            only_if=only_if,
        )

    def accept_all(messages: Sequence[Message]) -> bool:
        return accept_if([as_known(message, settings.callers) for message in messages], lambda _: True)

    accept_together = retried(accept_all, STOPPING.wait)

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
            return claims.claim_probe(connection, account_id, lanes, msg_id=msg_id, now=now, lease=settings.lease)

    refuse_in_the_end = retried(partial(refuse, engine), STOPPING.wait)
    pull_in_the_end = retried(pull_lane, STOPPING.wait)
    call = open_gateway(settings, account_ids, session, clock.time)
    # Even while the process ends: what came of a call is known here alone, and without it the submission is `unknown`.
    records = {name: recorder(engine, clock=clock.time, pause=time.sleep) for name in settings.lanes}
    keep = retried(gate_keeper(engine, in_a_row, clock.time), STOPPING.wait)
    was_accepted_since = retried(partial(accepted_since, engine), STOPPING.wait)

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
            is_away=is_store_away,
            only_waiter=lambda: alone(redis, f"wait:{lane.name}", lost_seconds=WAITER_SECONDS),
        )
        return Server(lane.name, verbs, calls_at_once=concurrency * CALLS_AT_ONCE, stopping=STOPPING)

    servers = {lane.name: server_of(lane) for lane in settings.lanes.values()}

    feeder = Feeder(
        engine,
        accept=accept_if,
        window=partial(window_of, settings),
        ring=lambda lane: servers[lane].wake(),
        here=account_ids,
        anywhere=lambda: known_to_all(redis, now=clock.now()),
        random=os.urandom,
        clock=clock.now,
    )
    launches: Launches = Turns(
        partial(feed_part, redis, partial(feed, feeder)), name="launch", stopping=STOPPING, is_away=is_store_away
    )

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
        claim_probe=retried(claim_probe, STOPPING.wait),
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
        numbers = accounts.register(connection, settings.accounts, first_msg_id=start, now=now)
        accounts.note_credentials(connection, settings.credentials)
    return {name: numbers[name] for name in settings.accounts}


def largest_call(settings: Settings, account: str, lane: Lane) -> int:
    """How many mobiles a call of that account and lane may have, so that the account's rate always has room for it."""
    return settings.accounts[account].limit.largest_call(settings.max_mobiles, lane.floor)

"""The circuit breaker: outcomes close the gate of an account, and a probe that goes through opens it again.

A thread updates the gate before it makes its next call. So once the last of a row of unknown calls closes the gate,
only calls that are already under way still go out.
"""

import logging
from collections import defaultdict, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial

from redis import Redis
from redis.exceptions import RedisError
from sqlalchemy import Engine

from worker.domain.escape import escaped
from worker.domain.gate import CLOSING, first_probe, is_opening, next_probe
from worker.domain.outcome import Outcome, Verdict
from worker.domain.submission import Claimed
from worker.ledger.engine import reading
from worker.ledger.sending import gates

log = logging.getLogger(__name__)

NOTABLE_SKEW = timedelta(seconds=5)
"""A Date header has whole seconds, and a response takes time on its way."""
FORGOTTEN = timedelta(minutes=30)
"""Calls that were unknown this long ago do not count in the same row as those of now."""


@dataclass(frozen=True, slots=True)
class InARow:
    """Counts the unanswered calls of each account that follow one another."""

    count: Callable[[Claimed, datetime], datetime | None]
    """Counts an unanswered call. Returns the time of the first call in the row once the row is long enough to close a
    gate, else None.
    """
    end: Callable[[int], object]
    """Ends the row of that account, because the gateway answered for a message. It is not called for an accepted call,
    which the ledger shows at no cost.
    """


def update_gate(engine: Engine, claimed: Claimed, outcome: Outcome, *, in_a_row: InARow, now: datetime) -> None:
    """Closes or opens the gate of the submission's account. Most outcomes are accepted: they do neither, and cost
    nothing.
    """
    if claimed.probe:
        _after_probe(engine, claimed.account_id, outcome, now)
    elif outcome.verdict in CLOSING:
        _close(engine, claimed.account_id, outcome, now)
    elif outcome.is_unanswered:
        since = in_a_row.count(claimed, now)
        if since is not None:
            _close(engine, claimed.account_id, outcome, now, unless_accepted_since=since)
    elif outcome.verdict is not Verdict.ACCEPTED and is_opening(outcome):
        in_a_row.end(claimed.account_id)


@dataclass(frozen=True, slots=True)
class _Counter:
    engine: Engine
    redis: Redis
    accounts: Mapping[int, str]
    most: int
    lease: timedelta
    own: defaultdict[int, deque[datetime]]
    """When the last calls of this process were unknown, by account id."""


def unknown_in_a_row(
    engine: Engine, redis: Redis, accounts: Mapping[int, str], *, most: int, lease: timedelta
) -> InARow:
    """Returns the counter of unknown calls, which counts those of all processes in Redis. An accepted call costs
    nothing.

    A call that was claimed before the gate was last opened is not counted, because it says nothing about the gateway
    since then. While Redis is away, each process counts its own calls.
    """
    counter = _Counter(engine, redis, accounts, most, lease, defaultdict(partial(deque, maxlen=most)))
    return InARow(partial(_count, counter), partial(_end, counter))


def _count(counter: _Counter, claimed: Claimed, now: datetime) -> datetime | None:
    with reading(counter.engine) as connection:
        opened = gates.opened_at(connection, claimed.account_id)
    if opened is None or claimed.until - counter.lease < opened:
        return None
    own = counter.own[claimed.account_id]
    own.append(now)
    key, call = _key(counter.accounts, claimed.account_id), f"{claimed.id}/{claimed.attempt}"
    try:
        times = _note(counter.redis, key, call, now, counter.most)
    except RedisError as error:
        log.warning("unknown calls are counted in this process alone, because Redis is away: %s", error)
        times = list(own)
    in_row = [time for time in times if time >= opened and time > now - FORGOTTEN]
    return min(in_row) if len(in_row) >= counter.most else None


def _end(counter: _Counter, account_id: int) -> None:
    counter.own.pop(account_id, None)
    try:
        counter.redis.delete(_key(counter.accounts, account_id))
    except RedisError as error:
        log.warning("a row of unknown calls ends in this process alone, because Redis is away: %s", error)


def _key(accounts: Mapping[int, str], account_id: int) -> str:
    return f"sms:unknown:{accounts[account_id]}"


def _note(redis: Redis, key: str, call: str, now: datetime, most: int) -> list[datetime]:
    """Notes the call in Redis. Returns the times of the last `most` calls that were noted."""
    with redis.pipeline(transaction=True) as pipeline:
        pipeline.zadd(key, {call: now.timestamp()})
        pipeline.zremrangebyrank(key, 0, -most - 1)
        pipeline.expire(key, FORGOTTEN)
        pipeline.zrange(key, 0, -1, withscores=True)
        noted = pipeline.execute()[-1]
    return [datetime.fromtimestamp(score, UTC) for _, score in noted]


def breaker(engine: Engine, in_a_row: InARow, clock: Callable[[], datetime]) -> Callable[[Claimed, Outcome], None]:
    """Returns the function that updates the gate after each outcome. It also notes the gateway's clock where that has
    changed.
    """
    noted: dict[int, timedelta] = {}

    def update(claimed: Claimed, outcome: Outcome) -> None:
        update_gate(engine, claimed, outcome, in_a_row=in_a_row, now=clock())
        last = noted.get(claimed.account_id, timedelta(0))
        if outcome.skew is not None and abs(outcome.skew - last) > NOTABLE_SKEW:
            noted[claimed.account_id] = outcome.skew
            with engine.begin() as connection:
                gates.note_skew(connection, claimed.account_id, outcome.skew)

    return update


def accepted_since(engine: Engine, account_id: int, since: datetime) -> bool:
    """Returns whether the gateway has accepted a call of the account since then, whichever worker made it."""
    with reading(engine) as connection:
        return gates.was_accepted_since(connection, account_id, since)


def _close(
    engine: Engine, account_id: int, outcome: Outcome, now: datetime, unless_accepted_since: datetime | None = None
) -> None:
    until = now + first_probe(outcome)
    with engine.begin() as connection:
        closed = gates.close(
            connection, account_id, _reason(outcome), now=now, until=until, unless_accepted_since=unless_accepted_since
        )
        name = gates.account_name(connection, account_id) if closed else None
    if closed:
        log.error("the gate of account %s is closed, see `sms account list`: %s", name, _reason(outcome))


def _after_probe(engine: Engine, account_id: int, outcome: Outcome, now: datetime) -> None:
    if is_opening(outcome):
        with engine.begin() as connection:
            gates.open_again(connection, account_id, now=now)
            name = gates.account_name(connection, account_id)
        log.warning("the gate of account %s is open again", name)
        return
    with engine.begin() as connection:
        closed_at = gates.closed_at(connection, account_id)
        wait = next_probe(outcome, now - closed_at) if closed_at else None
        if wait is not None:
            gates.stay_closed(connection, account_id, _reason(outcome), until=now + wait)
        name = gates.account_name(connection, account_id)
    log.warning("the gate of account %s stays closed: %s", name, _reason(outcome))


def _reason(outcome: Outcome) -> str:
    return escaped(f"{outcome.verdict}: {outcome.result or ''} {outcome.tips or ''}".replace("  ", " ").strip())

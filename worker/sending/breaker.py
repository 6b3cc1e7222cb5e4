"""The circuit breaker: outcomes close the gate of an account, and a probe that goes through opens it again.

A thread updates the gate before it makes its next call. So once so many calls in a row are unknown, no more follow than are under way.
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
from worker.domain.gate import CLOSING, first_probe, next_probe, opens
from worker.domain.outcome import Outcome, Verdict
from worker.domain.submission import Claimed
from worker.ledger.engine import reading
from worker.ledger.sending import gates

log = logging.getLogger(__name__)

NOTABLE_SKEW = timedelta(seconds=5)
"""A Date header has whole seconds, and a reply its time on the way."""
FORGOTTEN = timedelta(minutes=30)
"""Calls that were unknown so long ago are in no row with those of now."""


@dataclass(frozen=True, slots=True)
class InARow:
    """The calls in a row of the accounts that are unanswered."""

    count: Callable[[Claimed, datetime], datetime | None]
    """Counts a call that is unanswered now; since when, if it is one of as many as close a gate."""
    end: Callable[[int], object]
    """Ends the row of that account: the gateway answered for a message. For an accepted call the ledger says so, at no cost."""


def update_gate(engine: Engine, claimed: Claimed, outcome: Outcome, *, in_a_row: InARow, now: datetime) -> None:
    """Closes or opens the gate of the submission's account; most outcomes are accepted, do neither, and cost nothing."""
    if claimed.probe:
        _after_probe(engine, claimed.account_id, outcome, now)
    elif outcome.verdict in CLOSING:
        _close(engine, claimed.account_id, outcome, now)
    elif outcome.is_unanswered:
        since = in_a_row.count(claimed, now)
        if since is not None:
            _close(engine, claimed.account_id, outcome, now, unless_accepted_since=since)
    elif outcome.verdict is not Verdict.ACCEPTED and opens(outcome):
        in_a_row.end(claimed.account_id)


def unknown_in_a_row(
    engine: Engine, redis: Redis, accounts: Mapping[int, str], *, most: int, lease: timedelta
) -> InARow:
    """Counts calls that are unknown, of all processes, in Redis, which is asked at the end of a row besides: what is accepted costs nothing.

    A call that was claimed before the gate was last opened says nothing of the gateway since then, and is not counted.
    While Redis is away, each process counts its own.
    """
    here: defaultdict[int, deque[datetime]] = defaultdict(partial(deque, maxlen=most))

    def count(claimed: Claimed, now: datetime) -> datetime | None:
        with reading(engine) as connection:
            opened = gates.opened_at(connection, claimed.account_id)
        if opened is None or claimed.until - lease < opened:
            return None
        own = here[claimed.account_id]
        own.append(now)
        try:
            times = _note(redis, _key(accounts, claimed.account_id), f"{claimed.id}/{claimed.attempt}", now, most)
        except RedisError as why:
            log.warning("calls that are unknown are counted in this process alone, for Redis is away: %s", why)
            times = list(own)
        since = [time for time in times if time >= opened and time > now - FORGOTTEN]
        return min(since) if len(since) >= most else None

    def end(account_id: int) -> None:
        here.pop(account_id, None)
        try:
            redis.delete(_key(accounts, account_id))
        except RedisError as why:
            log.warning("a row of unknown calls ends in this process alone, for Redis is away: %s", why)

    return InARow(count, end)


def _key(accounts: Mapping[int, str], account_id: int) -> str:
    return f"sms:unknown:{accounts[account_id]}"


def _note(redis: Redis, key: str, call: str, now: datetime, most: int) -> list[datetime]:
    """Notes the call; when the last `most` were noted."""
    with redis.pipeline(transaction=True) as pipeline:
        pipeline.zadd(key, {call: now.timestamp()})
        pipeline.zremrangebyrank(key, 0, -most - 1)
        pipeline.expire(key, FORGOTTEN)
        pipeline.zrange(key, 0, -1, withscores=True)
        noted = pipeline.execute()[-1]
    return [datetime.fromtimestamp(score, UTC) for _, score in noted]


def breaker(engine: Engine, in_a_row: InARow, clock: Callable[[], datetime]) -> Callable[[Claimed, Outcome], None]:
    """Returns the function that updates the gate after each outcome, and notes the gateway's clock where that has changed."""
    noted: dict[int, timedelta] = {}

    def keep(claimed: Claimed, outcome: Outcome) -> None:
        update_gate(engine, claimed, outcome, in_a_row=in_a_row, now=clock())
        last = noted.get(claimed.account_id, timedelta(0))
        if outcome.skew is not None and abs(outcome.skew - last) > NOTABLE_SKEW:
            noted[claimed.account_id] = outcome.skew
            with engine.begin() as connection:
                gates.note_skew(connection, claimed.account_id, outcome.skew)

    return keep


def accepted_since(engine: Engine, account_id: int, since: datetime) -> bool:
    """Whether the gateway has accepted a call of the account since then, whichever worker made it."""
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
        name = gates.account_of(connection, account_id) if closed else None
    if closed:
        log.error("the gate of account %s is closed, see `sms account list`: %s", name, _reason(outcome))


def _after_probe(engine: Engine, account_id: int, outcome: Outcome, now: datetime) -> None:
    if opens(outcome):
        with engine.begin() as connection:
            gates.open_again(connection, account_id, now=now)
            name = gates.account_of(connection, account_id)
        log.warning("the gate of account %s is open again", name)
        return
    with engine.begin() as connection:
        closed_at = gates.closed_at(connection, account_id)
        wait = next_probe(outcome, now - closed_at) if closed_at else None
        if wait is not None:
            gates.stay_closed(connection, account_id, _reason(outcome), until=now + wait)
        name = gates.account_of(connection, account_id)
    log.warning("the gate of account %s stays closed: %s", name, _reason(outcome))


def _reason(outcome: Outcome) -> str:
    return escaped(f"{outcome.verdict}: {outcome.result or ''} {outcome.tips or ''}".replace("  ", " ").strip())

"""Pull: claims what is due in a lane, in fair shares, and no more than the rates of the accounts allow."""

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial

from sqlalchemy import Engine

from worker.domain.lane import Lane
from worker.domain.policy import Policy
from worker.domain.submission import Claimed
from worker.ledger.sending import claims
from worker.ledger.sending.claims import Due, Queue
from worker.ledger.sending.leave_out import leave_out_opted_out
from worker.redis_store.rate import Grant

Allow = Callable[[int, Lane, Sequence[int]], Grant]
"""Returns how many of these calls of that account may be made now. The numbers are the mobiles of each call."""

LOOK_AGAIN = timedelta(seconds=0.2)
"""For this long, pulls claim from the queues that one look at the lane found, while each gives what is asked of it.

A queue that gets its first submission meanwhile waits no longer than that, in a lane that has a backlog.
"""


@dataclass(frozen=True, slots=True)
class Look:
    """The queues that were found in a lane, for the claims up to the next look, and where that look begins."""

    at: datetime | None = None
    queues: Sequence[Queue] = ()
    since: Mapping[Queue, datetime] = field(default_factory=dict)
    """For each queue, the `due_at` of the submission that was claimed last. Those due earlier are claimed already."""
    after: str = ""
    """The caller after whom the next look begins."""


NO_LOOK = Look()


@dataclass(frozen=True, slots=True)
class Pulled:
    """The claimed submissions, whether more is due that may go now, and in how many seconds more may go where a rate is
    used up.
    """

    claimed: Sequence[Claimed]
    more: bool = False
    wait: float = 0
    look: Look = NO_LOOK


@dataclass(frozen=True, slots=True)
class Terms:
    """The terms of every pull of a process."""

    policy: Policy
    allow: Allow
    random: Callable[[], float]
    """0 to 1."""
    lease: timedelta
    """How long a claim holds."""


@dataclass(slots=True)
class _Locked:
    """The submissions that one pull has locked, and what it has learnt about the queues."""

    since: dict[Queue, datetime]
    """For each queue, the `due_at` of the submission that was locked last."""
    ids: list[int] = field(default_factory=list)
    waits: dict[int, float] = field(default_factory=dict)
    """The accounts whose rate is used up, with the seconds until it is worth asking again."""
    dry: set[Queue] = field(default_factory=set)
    """Queues that gave less than they were asked for."""
    more: bool = False


def pull(engine: Engine, lane: Lane, most: int, terms: Terms, *, now: datetime, last: Look = NO_LOOK) -> Pulled:
    """Claims up to `most` submissions of the lane.

    Each account gets an equal share of them, and each of its callers an equal share of that. Chance decides which come
    first, so all get served where there are more of them than places. Of very many callers some are looked at, and the
    next ones at the next pull: `last` is the look of the last one. Recipients who have opted out by now are left out,
    in a lane that heeds opt-outs.
    """
    with engine.begin() as connection:
        look = last if _holds(last, now) else Look(now, claims.queues(connection, lane.name, now=now, after=last.after))
        queues = [queue for queue in look.queues if terms.policy.may_send(queue.account_id, lane, now)]
        shares = _shares(queues, most, terms.random)
        locked = _lock_granted(
            shares,
            most,
            look.since,
            lock_due=partial(claims.lock_due, connection, lane.name, now=now),
            allow=lambda account_id, sizes: terms.allow(account_id, lane, sizes),
        )
        if locked.ids and lane.heeds_optouts:
            leave_out_opted_out(connection, locked.ids, now=now)
        claimed = claims.claim(connection, locked.ids, now=now, lease=terms.lease) if locked.ids else []
    lasts = _lasts(queues)
    # An older look that has nothing more to give may have missed queues that came meanwhile.
    is_stale = look is last and bool(locked.dry or not locked.ids)
    more = locked.more or not lasts.keys() <= locked.waits.keys() or is_stale
    # A queue that gives one submission at a time does not show whether it has another.
    goes_on = all(share > 1 for _, share in shares) and 0 < len(claimed) == len(locked.ids)
    after = _any_of(list(lasts.values()), terms.random) if lasts else last.after
    return Pulled(
        claimed, more, min(locked.waits.values(), default=0), _next_look(look, locked, after, goes_on=goes_on)
    )


def _any_of(callers: Sequence[str], random: Callable[[], float]) -> str:
    """Returns one caller by chance: the callers between those of two accounts come another time."""
    return callers[int(random() * len(callers))]


def _next_look(look: Look, locked: _Locked, after: str, *, goes_on: bool) -> Look:
    """Returns the look for the next pull: this one without its dry queues, or an empty one that is too old to hold."""
    queues = [queue for queue in look.queues if queue not in locked.dry]
    return Look(look.at, queues, locked.since, after) if goes_on and queues else Look(after=after)


def _lock_granted(
    shares: Sequence[tuple[Queue, int]],
    most: int,
    since: Mapping[Queue, datetime],
    *,
    lock_due: Callable[..., Sequence[Due]],
    allow: Callable[[int, Sequence[int]], Grant],
) -> _Locked:
    """Locks the share of each queue, as far as the rate of its account grants it."""
    locked = _Locked(dict(since))
    for queue, share in shares:
        places = min(share, most - len(locked.ids))
        if queue.account_id in locked.waits or not places:
            continue
        due = lock_due(queue, most=places, since=locked.since.get(queue))
        if len(due) < places:
            locked.dry.add(queue)
        grant = allow(queue.account_id, [submission.mobiles for submission in due]) if due else Grant(0, 0)
        for submission in due[: grant.granted]:
            locked.ids.append(submission.id)
            locked.since[queue] = submission.due_at
        if grant.granted < len(due):
            locked.waits[queue.account_id] = grant.wait
        elif len(due) == places:
            locked.more = True
    return locked


def _holds(look: Look, now: datetime) -> bool:
    return look.at is not None and timedelta(0) <= now - look.at < LOOK_AGAIN


def _lasts(queues: Sequence[Queue]) -> dict[int, str]:
    """Returns the last caller that was looked at, for each account that may have more."""
    counts = Counter(queue.account_id for queue in queues)
    return {queue.account_id: queue.caller for queue in queues if counts[queue.account_id] >= claims.MOST_QUEUES}


def _shares(queues: Sequence[Queue], most: int, random: Callable[[], float]) -> list[tuple[Queue, int]]:
    """Returns the queues in random order, each with its share of the places, at least one."""
    by_account: defaultdict[int, list[Queue]] = defaultdict(list)
    for queue in queues:
        by_account[queue.account_id].append(queue)
    shares = [
        (queue, -(-most // (len(by_account) * len(callers)))) for callers in by_account.values() for queue in callers
    ]
    return sorted(shares, key=lambda _: random())


def puller(engine: Engine, terms: Terms, clock: Callable[[], datetime]) -> Callable[[Lane, int], Pulled]:
    """Returns `pull` for one process. It remembers the last look at each lane."""
    looks: dict[str, Look] = {}

    def pull_next(lane: Lane, most: int) -> Pulled:
        pulled = pull(engine, lane, most, terms, now=clock(), last=looks.get(lane.name, NO_LOOK))
        looks[lane.name] = pulled.look
        return pulled

    return pull_next

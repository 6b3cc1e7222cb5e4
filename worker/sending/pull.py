"""Pull: claim what is due in a lane, in fair shares, and no more of it than the rates of the accounts allow."""

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from sqlalchemy import Engine

from worker.domain.lane import Lane
from worker.ledger.sending import claims, optouts
from worker.ledger.sending.claims import Claimed, Queue
from worker.redis_store.rate import Grant

Allow = Callable[[int, Lane, Sequence[int]], Grant]
"""How many of these calls of that account, by the mobiles of each, may be made now."""

MaySend = Callable[[int, Lane, datetime], bool]
"""Whether the hours of the lane have that account send now."""


LOOK_AGAIN = timedelta(seconds=0.2)
"""So long the queues that a look at a lane found are claimed from, each while it gives as much as is asked of it.

Whoever comes meanwhile waits no longer than that, in a lane that has a backlog.
"""


@dataclass(frozen=True, slots=True)
class Look:
    """What was seen of a lane: for the claims up to the next look, and where that begins."""

    at: datetime | None = None
    queues: Sequence[Queue] = ()
    since: Mapping[Queue, datetime] = field(default_factory=dict)
    """For each queue, the `due_at` of what was claimed of it last: what is due earlier is claimed already."""
    after: str = ""
    """The caller after whom the next look begins."""


NO_LOOK = Look()


@dataclass(frozen=True, slots=True)
class Pulled:
    """What was claimed; whether more is due that may go now; and in how many seconds more may, where a rate is used up."""

    claimed: Sequence[Claimed]
    more: bool = False
    wait: float = 0
    look: Look = NO_LOOK


def pull(
    engine: Engine,
    lane: Lane,
    most: int,
    *,
    may_send: MaySend,
    allow: Allow,
    random: Callable[[], float],
    now: datetime,
    lease: timedelta,
    last: Look = NO_LOOK,
) -> Pulled:
    """Claims up to `most` submissions of the lane.

    Each account has an equal share of them, and of that each of its callers; which of them come first is chance, so that all
    have their turn where there are more of them than places. Of very many callers some are looked at, and the next ones the next time:
    `last` is the look of the last pull. Whoever has opted out by then is left out, in a lane that heeds it.
    """
    submission_ids: list[int] = []
    waits: dict[int, float] = {}
    more = False
    dry: set[Queue] = set()
    with engine.begin() as connection:
        look = last if _holds(last, now) else Look(now, claims.queues(connection, lane.name, now=now, after=last.after))
        since = dict(look.since)
        queues = [queue for queue in look.queues if may_send(queue.account_id, lane, now)]
        shares = _shares(queues, most, random)
        for queue, share in shares:
            places = min(share, most - len(submission_ids))
            if queue.account_id in waits or not places:
                continue
            due = claims.first(connection, lane.name, queue, most=places, now=now, since=since.get(queue))
            if len(due) < places:
                dry.add(queue)
            grant = allow(queue.account_id, lane, [one.mobiles for one in due]) if due else Grant(0, 0)
            for one in due[: grant.granted]:
                submission_ids.append(one.id)
                since[queue] = one.due_at
            if grant.granted < len(due):
                waits[queue.account_id] = grant.wait
            elif len(due) == places:
                more = True
        if submission_ids and lane.heeds_optouts:
            optouts.leave_out(connection, submission_ids, now=now)
        claimed = claims.claim(connection, submission_ids, now=now, lease=lease) if submission_ids else []
    lasts = _lasts(queues)
    # One by chance: the callers between those of two accounts have their turn another time.
    after = list(lasts.values())[int(random() * len(lasts))] if lasts else last.after
    # Where an older look has nothing more to give, others may have come meanwhile.
    more = more or not lasts.keys() <= waits.keys() or (look is last and bool(dry or not submission_ids))
    left = [queue for queue in look.queues if queue not in dry]
    # Of a queue that gives one at a time nobody knows whether it has another.
    goes_on = left and all(share > 1 for _, share in shares) and 0 < len(claimed) == len(submission_ids)
    look = Look(look.at, left, since, after) if goes_on else Look(after=after)
    return Pulled(claimed, more, min(waits.values(), default=0), look)


def _holds(look: Look, now: datetime) -> bool:
    return look.at is not None and timedelta(0) <= now - look.at < LOOK_AGAIN


def _lasts(queues: Sequence[Queue]) -> dict[int, str]:
    """The last caller that was looked at, of each account that may have more."""
    counts = Counter(queue.account_id for queue in queues)
    return {queue.account_id: queue.caller for queue in queues if counts[queue.account_id] >= claims.MOST_QUEUES}


def _shares(queues: Sequence[Queue], most: int, random: Callable[[], float]) -> list[tuple[Queue, int]]:
    """The queues in random order, each with its share of the places, at least one."""
    of_account: defaultdict[int, list[Queue]] = defaultdict(list)
    for queue in queues:
        of_account[queue.account_id].append(queue)
    shares = [
        (queue, -(-most // (len(of_account) * len(callers)))) for callers in of_account.values() for queue in callers
    ]
    return sorted(shares, key=lambda _: random())

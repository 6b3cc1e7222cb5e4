"""Pull: claim what is due in a lane, in fair shares, and no more of it than the rates of the accounts allow."""

from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import Engine

from worker.domain.lane import Lane
from worker.ledger import optouts, turns
from worker.ledger.turns import Claimed, Queue
from worker.limits.rate import Grant

Allow = Callable[[int, Lane, Sequence[int]], Grant]
"""How many of these calls of that account, by the mobiles of each, may be made now."""

MaySend = Callable[[int, Lane, datetime], bool]
"""Whether the hours of the lane have that account send now."""


@dataclass(frozen=True, slots=True)
class Pulled:
    """What was claimed; whether more is due that may go now; and in how many seconds more may, where a rate is used up."""

    claimed: Sequence[Claimed]
    more: bool = False
    wait: float = 0
    after: str = ""
    """The caller after whom the next look at the lane begins."""


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
    after: str = "",
) -> Pulled:
    """Claims up to `most` submissions of the lane.

    Each account has an equal share of them, and of that each of its callers; which of them come first is chance, so that all
    have their turn where there are more of them than places. Of very many callers some are looked at, from the one after `after` on, and the
    next ones the next time. Whoever has opted out by then is left out, in a lane that heeds it.
    """
    nos: list[int] = []
    waits: dict[int, float] = {}
    more = False
    with engine.begin() as connection:
        queues = [
            queue
            for queue in turns.queues(connection, lane.name, now=now, after=after)
            if may_send(queue.account_id, lane, now)
        ]
        for queue, share in _shares(queues, most, random):
            places = min(share, most - len(nos))
            if queue.account_id in waits or not places:
                continue
            due = turns.first(connection, lane.name, queue, most=places, now=now)
            grant = allow(queue.account_id, lane, [one.mobiles for one in due]) if due else Grant(0, 0)
            nos += [one.no for one in due[: grant.granted]]
            if grant.granted < len(due):
                waits[queue.account_id] = grant.wait
            elif len(due) == places:
                more = True
        if nos and lane.heeds_optouts:
            optouts.leave_out(connection, nos, now=now)
        claimed = turns.claim(connection, nos, now=now, lease=lease) if nos else []
    lasts = _lasts(queues)
    if lasts:
        # One by chance: the callers between those of two accounts have their turn another time.
        after = list(lasts.values())[int(random() * len(lasts))]
    more = more or not lasts.keys() <= waits.keys()
    return Pulled(claimed, more, min(waits.values(), default=0), after)


def _lasts(queues: Sequence[Queue]) -> dict[int, str]:
    """The last caller that was looked at, of each account that may have more."""
    counts = Counter(queue.account_id for queue in queues)
    return {queue.account_id: queue.caller for queue in queues if counts[queue.account_id] >= turns.MOST_QUEUES}


def _shares(queues: Sequence[Queue], most: int, random: Callable[[], float]) -> list[tuple[Queue, int]]:
    """The queues in random order, each with its share of the places, at least one."""
    of_account: defaultdict[int, list[Queue]] = defaultdict(list)
    for queue in queues:
        of_account[queue.account_id].append(queue)
    shares = [
        (queue, -(-most // (len(of_account) * len(callers)))) for callers in of_account.values() for queue in callers
    ]
    return sorted(shares, key=lambda _: random())

"""What a push carries: status reports or replies, item by item."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from worker.domain.status import Report

REPEAT_WINDOW = timedelta(minutes=30)
"""The same reply in another push within this time is the gateway repeating itself (DESIGN 9). It is written into the ledger's view
`first_replies`: another one takes a migration."""


@dataclass(frozen=True, slots=True, order=True)
class StatusReport:
    """What became of one recipient (`pushStatusForm`)."""

    mobile: str
    msg_id: int
    report: Report


@dataclass(frozen=True, slots=True, order=True)
class Reply:
    """What a customer wrote back (`pushSmsForm`). Its msgId is kept as it came: it may be another program's."""

    mobile: str
    msg_id: str
    content: str


@dataclass(frozen=True, slots=True)
class Item:
    """One item of a push, with the account that it is for."""

    epr_id: str
    user_id: str
    body: StatusReport | Reply


@dataclass(frozen=True, slots=True)
class Push:
    """A push that could be read. `faults` has a sentence for each item that could not, `note` what else was odd about it."""

    items: tuple[Item, ...]
    faults: tuple[str, ...] = ()
    note: str | None = None


def numbered(replies: Iterable[Reply]) -> Iterator[tuple[Reply, int]]:
    """Each reply of a push, with the how-manieth of the same there it is: 1 and up."""
    so_far: Counter[Reply] = Counter()
    for reply in replies:
        so_far[reply] += 1
        yield reply, so_far[reply]


def first_replies(pushes: Iterable[tuple[datetime, Iterable[Reply]]]) -> list[tuple[datetime, Reply]]:
    """The replies that the pushes of an account brought, derived and never copied; the ledger's view `first_replies` says the same in SQL.

    Nothing but its fields tells a reply from the next. So the n-th of it in a push repeats the n-th of it in another that came
    at most REPEAT_WINDOW before, whether that is a repeat itself or not. What repeats none is a reply: its time, and what it says.
    """
    came: defaultdict[tuple[Reply, int], set[datetime]] = defaultdict(set)
    for at, replies in pushes:
        for one in numbered(replies):
            came[one].add(at)
    return sorted(
        (at, reply)
        for (reply, _), times in came.items()
        for at in times
        if not any(timedelta(0) < at - other <= REPEAT_WINDOW for other in times)
    )

"""What a push carries: status reports or replies, item by item."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from worker.domain.status import Report

REPEAT_WINDOW = timedelta(minutes=30)
"""The same reply in another push within this time is a repeat by the gateway (docs/architecture.md).

The ledger's view `first_replies` has the same number: to change it takes a migration.
"""


@dataclass(frozen=True, slots=True, order=True)
class StatusReport:
    """The delivery status of one recipient (`pushStatusForm` of the vendor's document)."""

    mobile: str
    msg_id: int
    report: Report


@dataclass(frozen=True, slots=True, order=True)
class Reply:
    """A customer's reply (`pushSmsForm` of the vendor's document).

    `msg_id` is kept as it came: it may be that of another program.
    """

    mobile: str
    msg_id: str
    content: str


@dataclass(frozen=True, slots=True)
class Item:
    """One item of a push, with the 企业Id and the 用户Id of its account."""

    epr_id: str
    user_id: str
    body: StatusReport | Reply


@dataclass(frozen=True, slots=True)
class Push:
    """A push that could be read.

    `faults` has a sentence for each item that could not be read. `note` says what else was odd about the push.
    """

    items: tuple[Item, ...]
    faults: tuple[str, ...] = ()
    note: str | None = None


def numbered(replies: Iterable[Reply]) -> Iterator[tuple[Reply, int]]:
    """Each reply of a push with its number among the equal replies of this push, from 1."""
    counts: Counter[Reply] = Counter()
    for reply in replies:
        counts[reply] += 1
        yield reply, counts[reply]


def first_replies(pushes: Iterable[tuple[datetime, Iterable[Reply]]]) -> list[tuple[datetime, Reply]]:
    """The replies that the pushes of an account brought, without repeats: the time and the reply, in order of time.

    The ledger's view `first_replies` says the same in SQL: the list is derived and never stored.

    A reply has no id, only its fields. So the n-th equal reply in a push repeats the n-th in a push that came at most
    REPEAT_WINDOW before. That one may be a repeat itself.
    """
    arrivals: defaultdict[tuple[Reply, int], set[datetime]] = defaultdict(set)
    for at, replies in pushes:
        for numbered_reply in numbered(replies):
            arrivals[numbered_reply].add(at)
    return sorted(
        (at, reply)
        for (reply, _), times in arrivals.items()
        for at in times
        if not any(timedelta(0) < at - other <= REPEAT_WINDOW for other in times)
    )

"""The states of a submission, its transitions in one table, and the status of a recipient that follows."""

from collections.abc import Collection
from enum import StrEnum


class State(StrEnum):
    """The state of a submission."""

    HELD = "held"
    """It waits for its `due_at`."""
    QUEUED = "queued"
    """It waits for a worker, an open gate and a token of the account's rate."""
    SUBMITTING = "submitting"
    """A worker claimed it and may be calling the gateway right now."""
    ACCEPTED = "accepted"
    """The gateway took it; its reports follow."""
    REJECTED = "rejected"
    """The gateway refused it for good."""
    UNREPORTED = "unreported"
    """The gateway took it, and the time for its reports is over. A late report still counts."""
    UNKNOWN = "unknown"
    """Nobody can know whether the gateway took it. A report settles it. It is not sent again by itself, unless its lane
    says so (`resend_unknown`), and then once."""
    EXPIRED = "expired"
    """Its validity ran out before it could be sent."""
    CANCELLED = "cancelled"
    """A person cancelled it before it was sent."""


TRANSITIONS: dict[State, frozenset[State]] = {
    # A submission that waits to be sent again stays unknown if its validity runs out first. It is accepted or rejected
    # if a report, or a late answer to its first call, comes first.
    State.HELD: frozenset(
        {State.SUBMITTING, State.EXPIRED, State.CANCELLED, State.UNKNOWN, State.ACCEPTED, State.REJECTED}
    ),
    State.QUEUED: frozenset({State.SUBMITTING, State.EXPIRED, State.CANCELLED, State.UNKNOWN, State.ACCEPTED}),
    # Cancelled instead of held, if a person cancelled it during the call. With `resend_unknown = "once"` it is held
    # instead of unknown, the first time.
    State.SUBMITTING: frozenset({State.ACCEPTED, State.REJECTED, State.UNKNOWN, State.HELD, State.CANCELLED}),
    State.ACCEPTED: frozenset({State.UNREPORTED}),
    State.UNREPORTED: frozenset(),
    State.REJECTED: frozenset(),
    # Accepted or rejected by a report, or by a late answer of the gateway. Held again when a person orders a resend, or
    # by itself with `resend_unknown = "probable"`, if the gateway probably did not take it (domain/evidence.py).
    State.UNKNOWN: frozenset({State.HELD, State.ACCEPTED, State.REJECTED}),
    State.EXPIRED: frozenset(),
    State.CANCELLED: frozenset(),
}

WAITING = frozenset({State.HELD, State.QUEUED, State.SUBMITTING})
"""The states that end by themselves. A row in one always has a `due_at`: it is claimed then, or its lease ends."""


def sources(target: State) -> tuple[State, ...]:
    """The states that may move to `target`. A conditional UPDATE asks for them."""
    return tuple(state for state, onward in TRANSITIONS.items() if target in onward)


class Report(StrEnum):
    """The gateway's report on one recipient (`status` of a pushStatusForm in the vendor's document)."""

    DELIVERED = "delivered"
    """1 成功"""
    UNDELIVERED = "undelivered"
    """-1 失败"""


class LeftOut(StrEnum):
    """The status of a recipient that is in no submission."""

    SUPPRESSED = "suppressed"
    """A rule left the recipient out, when the message was accepted or before the call. It is never sent to."""


class Suppression(StrEnum):
    """The rule that left a recipient out."""

    CAP = "cap"
    """The mobile has been sent to as often as the lane allows."""
    OPTOUT = "optout"
    """The owner of the mobile wants no marketing from the account."""


STATUSES = (*State, *LeftOut, *Report)
"""Every status that a recipient can have, in the order in which they are counted and shown."""


def recipient_status(stands: State | Suppression, reports: Collection[Report]) -> State | LeftOut | Report:
    """A recipient's status, derived and never stored. The ledger's view `recipient_status` says the same in SQL.

    `stands` is the state of the recipient's submission, or the rule that left it out: then no report can come.
    A report wins over the state of the submission. `delivered` wins over `undelivered`, whichever came first.
    """
    if isinstance(stands, Suppression):
        return LeftOut.SUPPRESSED
    return next((report for report in Report if report in reports), stands)

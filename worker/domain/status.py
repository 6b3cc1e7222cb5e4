"""Where a submission can stand, how it moves, and what that makes of a recipient. All transitions are in one table."""

from collections.abc import Collection
from enum import StrEnum


class State(StrEnum):
    """Where a submission stands."""

    HELD = "held"
    """It waits for its `due_at`."""
    QUEUED = "queued"
    """It waits for its turn: a worker, an open gate and a token of the account's rate."""
    SUBMITTING = "submitting"
    """A worker claimed it and may be calling the gateway right now."""
    ACCEPTED = "accepted"
    """The gateway took it; its reports follow."""
    REJECTED = "rejected"
    """The gateway refused it for good."""
    UNREPORTED = "unreported"
    """The gateway took it, and the time for its reports is over; one that comes late still counts."""
    UNKNOWN = "unknown"
    """It cannot be known whether the gateway took it. It is not sent again by itself, unless its lane says so, and then once;
    a report settles it."""
    EXPIRED = "expired"
    """Its validity ran out before it could be sent."""
    CANCELLED = "cancelled"
    """Somebody called it off before it was sent."""


TRANSITIONS: dict[State, frozenset[State]] = {
    # What was to be sent again is unknown still if its validity runs out first, and accepted or rejected if a report or a late
    # answer to its first call comes first.
    State.HELD: frozenset(
        {State.SUBMITTING, State.EXPIRED, State.CANCELLED, State.UNKNOWN, State.ACCEPTED, State.REJECTED}
    ),
    State.QUEUED: frozenset({State.SUBMITTING, State.EXPIRED, State.CANCELLED, State.UNKNOWN, State.ACCEPTED}),
    # Cancelled instead of held, where it was called off during the call.
    State.SUBMITTING: frozenset({State.ACCEPTED, State.REJECTED, State.UNKNOWN, State.HELD, State.CANCELLED}),
    State.ACCEPTED: frozenset({State.UNREPORTED}),
    State.UNREPORTED: frozenset(),
    State.REJECTED: frozenset(),
    # Settled by a report, or by what the gateway said after all. Held to be sent again by a person who says so, never by itself.
    State.UNKNOWN: frozenset({State.HELD, State.ACCEPTED, State.REJECTED}),
    State.EXPIRED: frozenset(),
    State.CANCELLED: frozenset(),
}

WAITING = frozenset({State.HELD, State.QUEUED, State.SUBMITTING})
"""The states that end by themselves: a row in one of them always has a `due_at`. What is due is claimed, or its lease is over."""


def sources(target: State) -> tuple[State, ...]:
    """The states that may move to `target`: what a conditional UPDATE asks for."""
    return tuple(state for state, onward in TRANSITIONS.items() if target in onward)


class Report(StrEnum):
    """What the gateway reported of one recipient (`status` of a pushStatusForm)."""

    DELIVERED = "delivered"
    """1 成功"""
    UNDELIVERED = "undelivered"
    """-1 失败"""


class LeftOut(StrEnum):
    """Where a recipient stands that is in no submission."""

    SUPPRESSED = "suppressed"
    """A rule left it out of its message, when that was accepted or before it was called. It is never sent to."""


class Suppression(StrEnum):
    """The rule that left a recipient out."""

    CAP = "cap"
    """Its mobile has been sent to as often as the lane allows."""
    OPTOUT = "optout"
    """Whoever has the mobile wants no marketing from the account."""


STATUSES = (*State, *LeftOut, *Report)
"""Every status that a recipient can have, in the order in which they are counted and shown."""


def recipient_status(stands: State | Suppression, reports: Collection[Report]) -> State | LeftOut | Report:
    """A recipient's status, derived and never copied; the ledger's view `recipient_status` says the same in SQL.

    `stands` is the state of its submission, or why it is in none: nobody can report on it then.
    A report settles whatever its submission's state is. `delivered` is never taken back: it wins over `undelivered`,
    whichever came first.
    """
    if isinstance(stands, Suppression):
        return LeftOut.SUPPRESSED
    return next((report for report in Report if report in reports), stands)

"""What is known after an attempt, and what follows from it: the table of docs/architecture.md, as plain values."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from worker.domain.status import State


class Verdict(StrEnum):
    """What is known of a call to the gateway."""

    ACCEPTED = "accepted"
    """It took the call (result 1)."""
    NOT_SENT = "not sent"
    """No byte of the request left: the name, the connection or TLS failed."""
    BUSY = "busy"
    """It said that it did not take the call, and to come again (429, or 503 with Retry-After)."""
    UNKNOWN = "unknown"
    """It may have taken the call."""
    FAILED = "failed"
    """result 0 失败: refused, and nobody says why."""
    REJECTED = "rejected"
    """It refused this message for good."""
    CLOCK = "clock"
    """result -2 请求已经过期: our timestamp is off."""
    ACCOUNT = "account"
    """results -3 to -6: the account is at fault, not the message."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What is known after an attempt. `result` and `tips` are the gateway's own words, or ours where it had none."""

    verdict: Verdict
    result: str | None = None
    tips: str | None = None
    retry_after: timedelta | None = None
    skew: timedelta | None = None
    """How far the gateway's clock is ahead of ours, where its reply had a Date."""


@dataclass(frozen=True, slots=True)
class Step:
    """Where the submission goes next; `due_at` only where it waits there."""

    state: State
    due_at: datetime | None = None
    resent: bool = False
    """Whether it waits to be sent again although the gateway may have taken it."""


FAILED_TRIES = 3
"""How often a message is offered that the gateway answers with 0 失败."""

BACKOFF_FIRST = timedelta(seconds=5)
BACKOFF_MOST = timedelta(minutes=5)


def backoff(attempt: int, jitter: float) -> timedelta:
    """How long to wait after the `attempt`-th try (from 1): doubling from 5 s to 5 min, then shortened by up to a half.

    `jitter` is 0 to 1: spread, so that what failed together does not come again together.
    """
    longest: timedelta = min(BACKOFF_FIRST * 2 ** min(attempt - 1, 10), BACKOFF_MOST)
    return longest * (1 - jitter / 2)


def next_step(
    outcome: Outcome,
    *,
    attempt: int,
    now: datetime,
    expires_at: datetime,
    jitter: float,
    resend: bool = False,
    resent: bool = False,
) -> Step:
    """Where a submission goes after its `attempt`-th attempt; never to a place from which it is sent while that is unsafe.

    `resend`: its lane has what is unknown sent again, which waits first, for a report may settle it. `resent`: that was this one,
    so it is unknown still if it is refused now, for the call before may have been taken.
    """
    match outcome.verdict:
        case Verdict.ACCEPTED:
            return Step(State.ACCEPTED)
        case Verdict.UNKNOWN:
            again = now + backoff(attempt, jitter)
            if resend and not resent and again < expires_at:
                return Step(State.HELD, again, resent=True)
            return Step(State.UNKNOWN)
        case Verdict.REJECTED:
            return Step(State.UNKNOWN if resent else State.REJECTED)
        case Verdict.FAILED if attempt >= FAILED_TRIES:
            return Step(State.UNKNOWN if resent else State.REJECTED)
        case Verdict.CLOCK | Verdict.ACCOUNT:
            # No fault of the message: it waits for the gate, which is closed before this is over.
            wait = BACKOFF_FIRST
        case Verdict.BUSY if outcome.retry_after is not None:
            wait = outcome.retry_after
        case Verdict.BUSY | Verdict.NOT_SENT | Verdict.FAILED:
            wait = backoff(attempt, jitter)
    # It waits no longer than it is worth sending: the upkeep tick lets it expire then.
    return Step(State.HELD, min(now + wait, expires_at))

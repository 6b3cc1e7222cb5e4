"""What is known after an attempt, and what follows from it: the table of docs/architecture.md, as plain values."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from worker.domain.status import State
from worker.domain.submission import Claimed


class Verdict(StrEnum):
    """What is known of a call to the gateway."""

    ACCEPTED = "accepted"
    """It took the call (result 1)."""
    NOT_SENT = "not sent"
    """No byte of the request left: the name, the connection or TLS failed."""
    BUSY = "busy"
    """It said that it did not take the call, and to come again: an HTTP status that the account's settings name."""
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
    """How far the gateway's clock is ahead of ours, where its reply had a Date that can be (`plausible_skew`)."""

    @property
    def is_unanswered(self) -> bool:
        """Whether nothing says that the gateway saw the call: no reply of its document, or a refusal by HTTP status alone.

        A proxy or a wrong address says 404 or 502 to every call.
        """
        return self.verdict is Verdict.UNKNOWN or (self.verdict is Verdict.REJECTED and self.result is None)


@dataclass(frozen=True, slots=True)
class Step:
    """Where the submission goes next; `due_at` only where it waits there."""

    state: State
    due_at: datetime | None = None
    resent: bool = False
    """Whether it waits to be sent again although the gateway may have taken it."""


SKEW_MOST = timedelta(days=1)
"""A Date that is further from our clock than this is a mistake of whoever wrote it, and tells nothing of the gateway's clock."""


def plausible_skew(skew: timedelta) -> timedelta | None:
    """How far the gateway's clock is ahead of ours, if it can be: None where that is more than SKEW_MOST."""
    return skew if abs(skew) <= SKEW_MOST else None


NOT_TAKEN = frozenset({429, 503})
"""The HTTP statuses that say that a call was not taken, unless the account's settings name others (RFC 6585, 4; RFC 9110, 15.6.4)."""

FAILED_TRIES = 3
"""How often a message is offered that the gateway answers with 0 失败."""

BACKOFF_FIRST = timedelta(seconds=5)
BACKOFF_TOLD = timedelta(seconds=1)
"""The first wait where somebody said how long to wait: their word counts, but none is shorter than this."""
BACKOFF_MOST = timedelta(minutes=5)
"""At two tries in this time, the most that jitter makes of it, `attempt` (a SMALLINT) lasts for 56 days."""


def backoff(attempt: int, jitter: float, first: timedelta = BACKOFF_FIRST) -> timedelta:
    """How long to wait after the `attempt`-th try (from 1): doubling from `first` to 5 min, then shortened by up to a half.

    `jitter` is 0 to 1: spread, so that what failed together does not come again together.
    """
    longest: timedelta = min(first * 2 ** min(attempt - 1, 10), BACKOFF_MOST)
    return longest * (1 - jitter / 2)


def wait_after(outcome: Outcome, attempt: int, jitter: float) -> timedelta:
    """How long a submission waits that was not taken: longer with each attempt, and never shorter than the gateway asked for."""
    if outcome.retry_after is None:
        return backoff(attempt, jitter)
    # Later than asked for, and spread: the others who were told the same come at the same time.
    return max(backoff(attempt, jitter, BACKOFF_TOLD), outcome.retry_after * (1 + jitter / 4))


def next_step(outcome: Outcome, claimed: Claimed, *, now: datetime, jitter: float, resend: bool = False) -> Step:
    """Where a submission goes after this outcome; never to a place from which it is sent while that is unsafe.

    With `resend` its lane sends again what is unknown; that waits first, for a report may settle it. What was sent again stays
    unknown if it is refused now: the call before may have been taken.
    """
    match outcome.verdict:
        case Verdict.ACCEPTED:
            return Step(State.ACCEPTED)
        case Verdict.UNKNOWN:
            again = now + backoff(claimed.attempt, jitter)
            if resend and not claimed.resent and again < claimed.expires_at:
                return Step(State.HELD, again, resent=True)
            return Step(State.UNKNOWN)
        case Verdict.REJECTED:
            return Step(State.UNKNOWN if claimed.resent else State.REJECTED)
        case Verdict.FAILED if claimed.failed + 1 >= FAILED_TRIES:
            return Step(State.UNKNOWN if claimed.resent else State.REJECTED)
        case Verdict.BUSY | Verdict.NOT_SENT | Verdict.FAILED | Verdict.CLOCK | Verdict.ACCOUNT:
            # It waits no longer than it is worth sending: the tick lets it expire then.
            return Step(State.HELD, min(now + wait_after(outcome, claimed.attempt, jitter), claimed.expires_at))

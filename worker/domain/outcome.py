"""The outcome of an attempt, and the next step of its submission: the table of docs/architecture.md as plain values."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from worker.domain.status import State
from worker.domain.submission import Claimed


class Verdict(StrEnum):
    """What is known of a call to the gateway."""

    ACCEPTED = "accepted"
    """The gateway took the call (result 1)."""
    NOT_SENT = "not sent"
    """No byte of the request left: the name, the connection or TLS failed."""
    BUSY = "busy"
    """The gateway did not take the call, and asks for it again: an HTTP status that the account's settings name."""
    UNKNOWN = "unknown"
    """The gateway may have taken the call."""
    FAILED = "failed"
    """result 0 失败: the gateway refused the call without a reason."""
    REJECTED = "rejected"
    """The gateway refused this message for good."""
    CLOCK = "clock"
    """result -2 请求已经过期: our timestamp is off."""
    ACCOUNT = "account"
    """results -3 to -6: the account is at fault, not the message."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What is known after an attempt.

    `result` and `tips` are the gateway's own words. Where it had none, `tips` has ours.
    """

    verdict: Verdict
    result: str | None = None
    tips: str | None = None
    retry_after: timedelta | None = None
    skew: timedelta | None = None
    """How far the gateway's clock is ahead of ours, where its response had a plausible Date (`plausible_skew`)."""

    @property
    def is_unanswered(self) -> bool:
        """Whether there is no sign that the gateway saw the call: no response of its document, or only an HTTP status.

        A proxy or a wrong address answers 404 or 502 to every call.
        """
        return self.verdict is Verdict.UNKNOWN or (self.verdict is Verdict.REJECTED and self.result is None)


@dataclass(frozen=True, slots=True)
class Step:
    """The next state of a submission. It has a `due_at` only where it waits."""

    state: State
    due_at: datetime | None = None
    resent: bool = False
    """Whether it waits to be sent again although the gateway may have taken it."""


SKEW_MOST = timedelta(days=1)
"""A Date further from our clock than this is a mistake. It says nothing about the gateway's clock."""


def plausible_skew(skew: timedelta) -> timedelta | None:
    """`skew`, or None where it is more than SKEW_MOST in either direction."""
    return skew if abs(skew) <= SKEW_MOST else None


NOT_TAKEN_STATUSES = frozenset({429, 503})
"""The HTTP statuses that say that the gateway did not take a call (RFC 6585, 4; RFC 9110, 15.6.4).

The settings of an account may name others.
"""

FAILED_TRIES = 3
"""How often a message is offered to a gateway that answers 0 失败."""

BACKOFF_FIRST = timedelta(seconds=5)
BACKOFF_TOLD = timedelta(seconds=1)
"""The first wait where the gateway said how long to wait. No wait that it names is shorter than this."""
MAX_BACKOFF = timedelta(minutes=5)
"""With jitter there are at most two tries in this time, so `attempt` (a SMALLINT) lasts for 56 days."""


def backoff(attempt: int, jitter: float, first: timedelta = BACKOFF_FIRST) -> timedelta:
    """How long to wait after the `attempt`-th try (from 1): it doubles from `first` to 5 min.

    `jitter` (0 to 1) shortens it by up to a half, so that calls that failed together do not come again together.
    """
    longest: timedelta = min(first * 2 ** min(attempt - 1, 10), MAX_BACKOFF)
    return longest * (1 - jitter / 2)


def wait_after(outcome: Outcome, attempt: int, jitter: float) -> timedelta:
    """How long a submission waits that was not taken: longer with each attempt, and at least as the gateway asks."""
    if outcome.retry_after is None:
        return backoff(attempt, jitter)
    # Later than the gateway asked for, and spread: all calls with this answer would come at the same time.
    return max(backoff(attempt, jitter, BACKOFF_TOLD), outcome.retry_after * (1 + jitter / 4))


def next_step(outcome: Outcome, claimed: Claimed, *, now: datetime, jitter: float, resend: bool = False) -> Step:
    """The next state of a submission after this outcome. It never leads to a second call where that is unsafe.

    With `resend`, its lane sends an unknown submission again. It waits first, because a report may settle it. A
    submission that was sent again stays unknown if it is refused now: the gateway may have taken the call before.
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
            # It waits no longer than it is valid: then the tick lets it expire.
            return Step(State.HELD, min(now + wait_after(outcome, claimed.attempt, jitter), claimed.expires_at))

"""Submit: calls the gateway for a claimed submission, and records the outcome.

The claim is committed before the call, and no transaction is open during it. If anything fails from here on, the row
stays in `submitting`, and becomes `unknown` when its lease runs out. It never gets a second call, unless its lane asks
for one.
"""

import logging
from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import datetime

from worker.domain.outcome import Outcome, Verdict, next_step
from worker.domain.submission import Claimed, Recorded

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Means:
    """The functions and settings with which a process submits."""

    call: Callable[[Claimed], Outcome]
    note: Callable[[Claimed, Outcome], object]
    """Is called with each outcome, once that is recorded."""
    clock: Callable[[], datetime]
    random: Callable[[], float]
    """0 to 1."""
    resend: Collection[str] = ()
    """The lanes in which an unknown submission is held to be resent once."""


def submit(claimed: Claimed, means: Means, *, record: Callable[[Recorded], object]) -> None:
    """Submits one submission."""
    outcome = means.call(claimed)
    if outcome.verdict is Verdict.CLOCK:
        # The gateway did not take it. The call has measured the gateway's clock, so the next one is signed with the
        # right time.
        outcome = means.call(claimed)
    step = next_step(outcome, claimed, now=means.clock(), jitter=means.random(), resend=claimed.lane in means.resend)
    if outcome.verdict is not Verdict.ACCEPTED:
        log.warning(
            "submission %d, attempt %d: %s (%s %s), now %s",
            claimed.id, claimed.attempt, outcome.verdict, outcome.result, outcome.tips, step.state,
        )  # fmt: skip
    record(
        Recorded(
            claimed.id,
            claimed.attempt,
            step.state,
            step.due_at,
            outcome.result,
            outcome.tips,
            resent=claimed.resent or step.resent,
            failed=outcome.verdict is Verdict.FAILED,
        )
    )
    means.note(claimed, outcome)

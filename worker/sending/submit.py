"""Submit: call the gateway for a submission that was claimed, and write down what is known afterwards.

The claim was committed before the call and no transaction is open during it. Whatever goes wrong from here leaves a row in
`submitting`, which becomes `unknown` when its lease runs out: never a second call, unless the lane asks for one.
"""

import logging
from collections.abc import Callable, Collection
from datetime import datetime

from worker.domain.outcome import Outcome, Verdict, next_step
from worker.ledger.sending.claims import Claimed
from worker.ledger.sending.submissions import Recorded

log = logging.getLogger(__name__)


def submit(
    claimed: Claimed,
    *,
    call: Callable[[Claimed], Outcome],
    record: Callable[[Recorded], object],
    keep_gate: Callable[[Claimed, Outcome], object],
    clock: Callable[[], datetime],
    random: Callable[[], float],
    resend: Collection[str] = (),
) -> None:
    """Submits one submission. In the lanes `resend`, what is unknown is held to be sent once more."""
    outcome = call(claimed)
    if outcome.verdict is Verdict.CLOCK:
        # Not taken. The call has measured the gateway's clock, so the next one is signed with the right time.
        outcome = call(claimed)
    step = next_step(
        outcome,
        attempt=claimed.attempt,
        failed=claimed.failed,
        now=clock(),
        expires_at=claimed.expires_at,
        jitter=random(),
        resend=claimed.lane in resend,
        resent=claimed.resent,
    )
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
    keep_gate(claimed, outcome)

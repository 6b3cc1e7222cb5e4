"""The gate of an account: whether it may send now. What closes it, and for how long, stands in one table."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from worker.domain.outcome import Outcome, Verdict

PROBE_AFTER = {
    Verdict.ACCOUNT: timedelta(minutes=1),
    Verdict.CLOCK: timedelta(minutes=1),
    Verdict.NOT_SENT: timedelta(seconds=15),
}
"""After which outcomes a gate is closed, and when the next submission may try: it alone, and each time so much later."""

NOT_SENT_IN_A_ROW = 10
"""One connection that does not come about is bad luck; so many in a row, and the gateway is away."""

PROBE_AGAIN = timedelta(minutes=1)
"""When the next may try if a probe has no outcome: its worker was lost."""


@dataclass(frozen=True, slots=True)
class Gate:
    """A closed gate is probed at `until`; one that a person closed has none, and only a person opens it."""

    account: str
    is_open: bool
    reason: str | None
    since: datetime
    until: datetime | None
    by: str | None


def closes(outcome: Outcome, *, not_sent_in_a_row: int, probe: bool) -> timedelta | None:
    """How long the gate is to be closed after this outcome; None where it is not."""
    if outcome.verdict is Verdict.NOT_SENT and not probe and not_sent_in_a_row < NOT_SENT_IN_A_ROW:
        return None
    return PROBE_AFTER.get(outcome.verdict)

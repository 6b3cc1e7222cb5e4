"""The gate of an account says whether it may send now: which outcomes close and open it, and when it is probed."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from worker.domain.outcome import Outcome, Verdict

CLOSING = frozenset({Verdict.ACCOUNT, Verdict.CLOCK})
"""One call with such a verdict closes the gate; several unanswered calls in a row close it too.

A worker that gets no connection (`not sent`), or no answer while other workers do, stops itself instead
(`worker.sending.reachability`).
"""

OPENING = frozenset({Verdict.ACCEPTED, Verdict.REJECTED, Verdict.FAILED})
"""A probe with such a verdict opens the gate: the answer is about the message, not about the gateway or the account."""

PROBE_AFTER = {
    Verdict.ACCOUNT: timedelta(minutes=1),
    Verdict.CLOCK: timedelta(minutes=1),
    Verdict.NOT_SENT: timedelta(seconds=15),
    Verdict.UNKNOWN: timedelta(seconds=3),
    # The gateway answers and takes nothing: one that comes back is often busy first.
    Verdict.BUSY: timedelta(seconds=5),
}
"""The wait for the first probe after such an outcome, and for the next one after a probe with it."""

MAX_PROBE_WAIT = timedelta(minutes=2)
"""The longest wait. A probe may become one more unknown call, so probes get rarer while the gate is closed."""

PROBE_AGAIN = timedelta(minutes=1)
"""The wait for the next probe if a probe has no outcome, because its worker was lost."""


@dataclass(frozen=True, slots=True)
class Gate:
    """The gate of an account. A closed gate is probed at `until`.

    A gate that a person closed has no `until`: only a person opens it.
    """

    account: str
    is_open: bool
    reason: str | None
    since: datetime
    until: datetime | None
    by: str | None


def first_probe(outcome: Outcome) -> timedelta:
    """How long to wait for the first probe of a gate that this outcome closes."""
    return PROBE_AFTER[Verdict.UNKNOWN if outcome.is_unanswered else outcome.verdict]


def is_opening(outcome: Outcome) -> bool:
    """Whether a probe with this outcome opens the gate."""
    return outcome.verdict in OPENING and not outcome.is_unanswered


def next_probe(outcome: Outcome, closed_for: timedelta) -> timedelta | None:
    """How long to wait for the next probe, after a probe with this outcome.

    After an unanswered probe the wait is as long as the gate was closed until then: so each wait doubles, up to two
    minutes. None where the outcome says nothing new: then the due time stays.
    """
    if outcome.is_unanswered:
        return min(max(PROBE_AFTER[Verdict.UNKNOWN], closed_for), MAX_PROBE_WAIT)
    return PROBE_AFTER.get(outcome.verdict)

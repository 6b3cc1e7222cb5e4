"""The gate of an account: whether it may send now. What closes it, and when it is probed, is decided here."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from worker.domain.outcome import Outcome, Verdict

CLOSING = frozenset({Verdict.ACCOUNT, Verdict.CLOCK})
"""One such outcome closes the gate. Of calls that are unanswered it takes several in a row; a worker that gets no connection
(`not sent`), or no answer while others do, stops itself instead (`worker.sending.reachability`)."""

OPENING = frozenset({Verdict.ACCEPTED, Verdict.REJECTED, Verdict.FAILED})
"""A probe that is answered so opens the gate: the gateway answers for the message, not for itself or the account."""

PROBE_AFTER = {
    Verdict.ACCOUNT: timedelta(minutes=1),
    Verdict.CLOCK: timedelta(minutes=1),
    Verdict.NOT_SENT: timedelta(seconds=15),
    Verdict.UNKNOWN: timedelta(seconds=3),
    # It answers, and took nothing: a gateway that comes back is often busy first.
    Verdict.BUSY: timedelta(seconds=5),
}
"""When the first probe is due after such an outcome, and the next after a probe that comes to it."""

PROBE_MOST = timedelta(minutes=2)
"""Each probe that is unknown may be a call that nobody knows the end of: so they are rarer the longer the gate is closed."""

PROBE_AGAIN = timedelta(minutes=1)
"""When the next may try, at the earliest, if a probe has no outcome: its worker was lost."""


@dataclass(frozen=True, slots=True)
class Gate:
    """A closed gate is probed at `until`; one that a person closed has none, and only a person opens it."""

    account: str
    is_open: bool
    reason: str | None
    since: datetime
    until: datetime | None
    by: str | None


def first_probe(outcome: Outcome) -> timedelta:
    """How long to wait for the first probe of a gate that this outcome closes."""
    return PROBE_AFTER[Verdict.UNKNOWN if outcome.is_unanswered else outcome.verdict]


def opens(outcome: Outcome) -> bool:
    """Whether a probe with this outcome opens the gate."""
    return outcome.verdict in OPENING and not outcome.is_unanswered


def next_probe(outcome: Outcome, closed_for: timedelta) -> timedelta | None:
    """How long to wait for the next probe after one with this outcome, of a gate that has been closed for so long.

    After one that is unanswered as long as the gate was closed until then: each wait is double the one before, up to two minutes.
    None where the outcome says nothing new: then it is due when it was.
    """
    if outcome.is_unanswered:
        return min(max(PROBE_AFTER[Verdict.UNKNOWN], closed_for), PROBE_MOST)
    return PROBE_AFTER.get(outcome.verdict)

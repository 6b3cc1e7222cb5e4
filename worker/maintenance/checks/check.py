"""A check and its result, and what several checks judge by."""

from dataclasses import dataclass
from datetime import timedelta

from worker.ledger.backlog import Backlog

PATIENCE = timedelta(minutes=1)
"""Work that is older than this is overdue: beat looks for work every second."""
MIB = 1024**2
NEARLY = 0.8
"""The share of a room from which on `sms doctor` warns, while there is still time to do something."""

OK, LOOK, WRONG = "ok", "look", "wrong"
IDLE = "start a worker and beat, or read their logs; if both run, the work is more than they can do: add workers"


@dataclass(frozen=True, slots=True)
class Check:
    """The result of a check. `state` is `ok`, `look` (when there is time) or `wrong`; `remedy` says what to do."""

    name: str
    state: str
    finding: str
    remedy: str | None = None


def judge(name: str, good: bool, finding: str, remedy: str, otherwise: str = WRONG) -> Check:
    """`ok` where it is good; else the state `otherwise`, with the remedy."""
    return Check(name, OK, finding) if good else Check(name, otherwise, finding, remedy)


def judge_backlog(name: str, backlog: Backlog, remedy: str = IDLE, otherwise: str = WRONG) -> Check:
    """`ok` where nothing is overdue."""
    finding = f"{backlog.count}" + (f", {backlog.overdue} of them overdue" if backlog.overdue else "")
    return judge(name, backlog.overdue == 0, finding, remedy, otherwise)

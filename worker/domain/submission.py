"""A submission is one call to the gateway. It is a value of its own when it is new, claimed, and recorded."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from worker.domain.status import State


@dataclass(frozen=True, slots=True)
class NewSubmission:
    """A submission that is to be added to the ledger. Each recipient is (id of the message's row, mobile)."""

    account_id: int
    lane: str
    caller: str
    msg_id: int
    recipients: Sequence[tuple[int, str]]
    state: State
    due_at: datetime
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class Claimed:
    """A submission that this process has claimed: no other process may call it now."""

    id: int
    account_id: int
    msg_id: int
    attempt: int
    expires_at: datetime
    until: datetime
    """The end of its lease: the call must be over by then."""
    lane: str
    resent: bool
    content: str
    mobiles: tuple[str, ...]
    probe: bool = False
    """Whether it goes through a closed gate, to find out whether the gate can be opened."""
    failed: int = 0
    """How many of its attempts the gateway answered with 0 失败."""


@dataclass(frozen=True, slots=True)
class Recorded:
    """The state of a submission after an attempt."""

    id: int
    attempt: int
    state: State
    due_at: datetime | None
    result: str | None
    tips: str | None
    resent: bool = False
    """Whether this attempt, or the next, is made although the gateway may have taken the one before."""
    failed: bool = False
    """Whether the gateway answered it with 0 失败."""

"""A submission, which is one call to the gateway: as it is made, as it is claimed, and as an attempt leaves it."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from worker.domain.status import State


@dataclass(frozen=True, slots=True)
class NewSubmission:
    """A submission to be made: one call, with its recipients, (id of the message's row, mobile) each."""

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
    """A submission that this process alone may call now."""

    id: int
    account_id: int
    msg_id: int
    attempt: int
    expires_at: datetime
    until: datetime
    """When its lease runs out: a call must be over by then."""
    lane: str
    resent: bool
    content: str
    mobiles: tuple[str, ...]
    probe: bool = False
    """Whether it is sent through a closed gate, to see whether that can be opened again."""
    failed: int = 0
    """How many of its attempts were answered with 0 失败."""


@dataclass(frozen=True, slots=True)
class Recorded:
    """Where an attempt left its submission."""

    id: int
    attempt: int
    state: State
    due_at: datetime | None
    result: str | None
    tips: str | None
    resent: bool = False
    """Whether the attempt was, or the next is, made although the gateway may have taken the one before."""
    failed: bool = False
    """Whether it was answered with 0 失败."""

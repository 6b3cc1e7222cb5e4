"""What a campaign would do if it went now."""

from dataclasses import dataclass

from worker.domain.campaigns.forecast import Forecast
from worker.domain.text import Risk


@dataclass(frozen=True, slots=True)
class Unrenderable:
    """A member whose row makes no text that can be sent, and the reason."""

    line: int
    mobile: str
    reason: str


@dataclass(frozen=True, slots=True)
class Sample:
    """The text that a member would get. `why` says why it is shown: as the first, the longest or a random one."""

    why: str
    line: int
    mobile: str
    text: str


@dataclass(frozen=True, slots=True)
class RiskCount:
    """A risk that texts carry: the warning for the first of them, its line, and how many texts carry it."""

    risk: Risk
    warning: str
    line: int
    texts: int


@dataclass(frozen=True, slots=True)
class Preflight:
    """What a campaign would do if it went now."""

    members: int
    """The members of its audience. Each is unrenderable, opted out, capped or a recipient."""
    unrenderable: dict[str, int]
    """How many members make no text that can be sent, by reason, the most common first."""
    examples: list[Unrenderable]
    """The first few of each reason."""
    opted_out: int
    capped: int | None
    """How many members were sent to as often as the lane allows.

    None where the caps are not known: they are among `recipients`.
    """
    recipients: int
    personal: bool
    """Whether the text differs from one recipient to another."""
    segments: int
    """The segments of all texts, with the signature. This is the number that is paid for."""
    least: int
    mean: float
    most: int
    """Segments of one text; 0 where there is none."""
    calls: int
    forecast: Forecast
    samples: list[Sample]
    noticed: list[RiskCount]

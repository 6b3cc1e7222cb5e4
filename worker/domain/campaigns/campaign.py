"""A campaign: one text to a list of people, once or again and again.

The rules here decide what it may do next, and when.
"""

import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta, tzinfo
from enum import StrEnum

from worker.domain.hours import Hours, closing, earliest

MAX_NAME = 40
CALLER_PREFIX = "campaign/"
"""Begins the caller of what a run sends. Each run is a caller of its own, and so has a queue of its own in its lane."""


class CampaignState(StrEnum):
    """Where a campaign stands."""

    DRAFT = "draft"
    """Nobody has started it yet. It does nothing."""
    ACTIVE = "active"
    """It sends, or waits for its time."""
    PAUSED = "paused"
    """It sends nothing until somebody resumes it. A person paused it, or it paused itself and says why."""
    CANCELLED = "cancelled"
    """Somebody called it off. It never sends what it has not sent."""
    DONE = "done"
    """Its last run is over."""


CAMPAIGN_TRANSITIONS: dict[CampaignState, frozenset[CampaignState]] = {
    CampaignState.DRAFT: frozenset({CampaignState.ACTIVE, CampaignState.CANCELLED}),
    CampaignState.ACTIVE: frozenset({CampaignState.PAUSED, CampaignState.CANCELLED, CampaignState.DONE}),
    CampaignState.PAUSED: frozenset({CampaignState.ACTIVE, CampaignState.CANCELLED}),
    CampaignState.CANCELLED: frozenset(),
    CampaignState.DONE: frozenset(),
}


class RunState(StrEnum):
    """Where a run of a campaign stands."""

    RUNNING = "running"
    """It sends whenever its campaign is active and its window open."""
    DONE = "done"
    """It has sent to every member, or left them out for a reason that is kept."""
    CANCELLED = "cancelled"
    """Its campaign was called off before it had sent to every member."""
    EXPIRED = "expired"
    """Its window closed before it had sent to every member, and the rest was not to go on."""
    SKIPPED = "skipped"
    """It never began. It was due while beat was down, or while the run before it was still under way."""


class Leftover(StrEnum):
    """What becomes of the part of a run that is not out when its window closes."""

    CONTINUE = "continue"
    """It goes on when the window opens again."""
    EXPIRE = "expire"
    """It is not sent any more."""


class Missed(StrEnum):
    """What becomes of a run that was due while beat was down or the campaign was paused.

    Several missed runs count as one.
    """

    LATE = "late"
    SKIP = "skip"


class Stage(StrEnum):
    """How far a run has come in its audience."""

    FIRST = "first"
    """A share of the audience, spread over all of it; then the campaign pauses and asks."""
    REST = "rest"
    """All of the audience, or what the first share left."""


@dataclass(frozen=True, slots=True)
class Campaign:
    """A campaign. `audience` and `account` are names, `header` has the audience's columns, `content` is the text or
    template.

    Shares are fractions of 1. `since` and `set_by` say when its state was set, and by whom.
    """

    id: int
    name: str
    account: str
    account_id: int
    lane: str
    audience_id: int
    audience: str
    header: tuple[str, ...]
    content: str
    state: CampaignState
    since: datetime
    set_by: str
    reason: str | None
    next_at: datetime | None
    cron: str | None
    time_zone: str
    hours: str | None
    leftover: Leftover
    missed: Missed
    first_share: float | None
    stop_share: float | None
    created_at: datetime
    created_by: str


@dataclass(frozen=True, slots=True)
class Run:
    """A run of a campaign. It has gone through the audience up to `line` in its stage.

    `expanded` counts the members that became recipients, `unrenderable` those whose row makes no text.
    """

    id: int
    campaign_id: int
    due_at: datetime
    state: RunState
    reason: str | None
    stage: Stage
    line: int
    expanded: int
    unrenderable: int
    opens_at: datetime
    closes_at: datetime | None
    started_at: datetime
    ended_at: datetime | None
    looked_at: datetime | None
    seen_message_id: int | None


ON_TIME = timedelta(minutes=1)
"""A run that starts at most this long after its time is not late."""

MAX_RUN_VALIDITY = timedelta(days=30)
"""How long the messages of a run are valid where the rest of it goes on: a campaign may be paused for so long."""

LEAST_KNOWN = 100
"""This many results must be known before a campaign is paused because too many of them are bad."""


@dataclass(frozen=True, slots=True)
class Window:
    """When a run may send: from `opens` until before `closes`. None means without end."""

    opens: datetime
    closes: datetime | None


def window(hours: Iterable[tuple[Hours, tzinfo]], at: datetime) -> Window | None:
    """Returns the first window from `at` on that lies within all the hours, each in its zone.

    None where there never is one.
    """
    hours = list(hours)
    opens = at
    # Hours with a moment of the day in common meet within a day. Zones shift against each other only by hours.
    for _ in range(8):
        latest = max((earliest(kept, zone, opens) for kept, zone in hours), default=opens)
        if latest == opens:
            return Window(opens, min((closing(kept, zone, opens) for kept, zone in hours), default=None))
        opens = latest
    return None


def hours_of(lane: Hours | None, account_zone: tzinfo, own: Hours | None, zone: tzinfo) -> list[tuple[Hours, tzinfo]]:
    """Returns the hours of a campaign, for `window`: its lane's in its account's zone, and its own in its own zone."""
    return [(hours, where) for hours, where in ((lane, account_zone), (own, zone)) if hours]


def caller_of(run_id: int) -> str:
    """Returns the caller under which that run sends."""
    return f"{CALLER_PREFIX}{run_id}"


def name_faults(name: str) -> list[str]:
    """Returns what is wrong with the name of a campaign or an audience, in words."""
    faults = []
    if not name:
        faults.append(f"is empty; give it 1 to {MAX_NAME} characters")
    if len(name) > MAX_NAME:
        faults.append(f"has {len(name)} characters, more than {MAX_NAME}; shorten it")
    if name != name.strip():
        faults.append("begins or ends with a blank; remove it")
    if any(unicodedata.category(char).startswith("C") for char in name):
        faults.append("has control characters; remove them")
    return faults


def is_missed(due_at: datetime, now: datetime, missed: Missed) -> bool:
    """Whether a run does not start any more, for its time is past."""
    return missed is Missed.SKIP and now - due_at > ON_TIME


def too_many_bad(bad: int, known: int, most: float | None) -> bool:
    """Whether too many of the known results are rejected, undelivered or unknown. `most` is a fraction of 1."""
    return most is not None and known >= LEAST_KNOWN and bad > most * known

"""How a campaign stands, in figures. Whatever has become of the members, the figures add up to them."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from worker.domain.campaigns.campaign import CampaignState, RunState
from worker.domain.status import STATUSES, WAITING, LeftOut, Report, State

MINUTE = timedelta(minutes=1)
_SENT = (State.ACCEPTED, State.UNREPORTED, *Report)
_NEVER = (State.EXPIRED, State.CANCELLED)


@dataclass(frozen=True, slots=True)
class Walk:
    """How far some runs in the same state have gone through their audience.

    `expanded` members became recipients. `unrenderable` ones could not, for their row makes no text that can be sent.
    """

    state: RunState
    expanded: int
    unrenderable: int
    runs: int = 1


@dataclass(frozen=True, slots=True)
class Walked:
    """All members of some runs: those gone through, those `remaining`, and those that a run ended before."""

    members: int
    expanded: int
    unrenderable: int
    remaining: int
    cancelled: int
    expired: int


def walked(good: int, walks: Iterable[Walk], state: CampaignState) -> Walked:
    """Returns what the runs of a campaign have gone through of an audience of `good` members.

    A campaign that never ran has all members before it, or has called them off. A skipped run has none.
    """
    begun = list(walks)
    if not begun:
        cancelled = good if state is CampaignState.CANCELLED else 0
        return Walked(good, 0, 0, good - cancelled, cancelled, 0)
    left = dict.fromkeys(RunState, 0)
    for walk in begun:
        left[walk.state] += walk.runs * good - walk.expanded - walk.unrenderable
    ended = {run_state: left.pop(run_state) for run_state in (RunState.CANCELLED, RunState.EXPIRED)}
    del left[RunState.SKIPPED]
    return Walked(
        members=sum(walk.runs * good for walk in begun if walk.state is not RunState.SKIPPED),
        expanded=sum(walk.expanded for walk in begun),
        unrenderable=sum(walk.unrenderable for walk in begun),
        remaining=sum(left.values()),
        cancelled=ended[RunState.CANCELLED],
        expired=ended[RunState.EXPIRED],
    )


@dataclass(frozen=True, slots=True)
class CallTimes:
    """When the first and the last call of some runs were over, and to how many recipients those of the last minute
    went.
    """

    first: datetime | None
    last: datetime | None
    per_minute: int


@dataclass(frozen=True, slots=True)
class Figures:
    """How a campaign stands, or one of its runs.

    `statuses` counts its recipients, and the members that never became one, in the order of STATUSES, without zeros.
    `suppressed` counts the suppressed ones by reason. `per_minute` is how many recipients were called in the last
    minute.
    """

    members: int
    expanded: int
    unrenderable: int
    remaining: int
    statuses: Mapping[str, int]
    suppressed: Mapping[str, int]
    replies: int
    optouts: int
    first_call: datetime | None
    last_call: datetime | None
    per_minute: int

    @property
    def waiting(self) -> int:
        """Members whose call is still to come, or under way."""
        return self.remaining + self._of(*WAITING)

    @property
    def sent(self) -> int:
        """Recipients whose call the gateway took."""
        return self._of(*_SENT)

    @property
    def delivered(self) -> int:
        return self._of(Report.DELIVERED)

    @property
    def unreported(self) -> int:
        """Recipients whose call the gateway took, and on whom it has reported nothing yet, or never will."""
        return self._of(State.ACCEPTED, State.UNREPORTED)

    @property
    def failed(self) -> int:
        """Recipients whom the gateway refused, or reported as undelivered."""
        return self._of(State.REJECTED, Report.UNDELIVERED)

    @property
    def unknown(self) -> int:
        return self._of(State.UNKNOWN)

    @property
    def left_out(self) -> int:
        """Members who were not sent to and will not be: no call was made for them."""
        return self.unrenderable + self._of(LeftOut.SUPPRESSED, *_NEVER)

    @property
    def time_left(self) -> timedelta | None:
        """How long the rest takes if it goes on as in the last minute."""
        return MINUTE * (self.waiting / self.per_minute) if self.waiting and self.per_minute else None

    def _of(self, *statuses: str) -> int:
        return sum(self.statuses.get(status, 0) for status in statuses)


def figures(
    walk: Walked,
    statuses: Mapping[str, int],
    suppressed: Mapping[str, int],
    *,
    calls: CallTimes,
    replies: int,
    optouts: int,
) -> Figures:
    """Returns the figures, from how far the runs have gone and from their recipients by status and by reason.

    The two may be counted one after the other while the campaign goes on. Members expanded in between are taken off
    those remaining.
    """
    never = {State.CANCELLED: walk.cancelled, State.EXPIRED: walk.expired}
    counts = {str(status): statuses.get(status, 0) + never.get(status, 0) for status in STATUSES}
    return Figures(
        members=walk.members,
        expanded=sum(statuses.values()),
        unrenderable=walk.unrenderable,
        remaining=walk.members - walk.unrenderable - sum(counts.values()),
        statuses={status: count for status, count in counts.items() if count},
        suppressed=suppressed,
        replies=replies,
        optouts=optouts,
        first_call=calls.first,
        last_call=calls.last,
        per_minute=calls.per_minute,
    )

"""The three lanes. The kind of a message's text decides its queue, its hours, its validity and its caps."""

from dataclasses import dataclass
from datetime import time, timedelta
from typing import Literal

from worker.domain.caps import Cap
from worker.domain.hours import Hours


@dataclass(frozen=True, slots=True)
class Lane:
    """A Celery queue and the policy of its messages."""

    name: str
    queue: str
    validity: timedelta
    """How long after its time a message may still go out."""
    floor: float
    """The share (0 to <1) of an account's tokens that this lane leaves for more urgent lanes."""
    shares_calls: bool = True
    """Whether messages with the same text go out in one call."""
    heeds_optouts: bool = False
    """Whether recipients who opted out are left out. Nobody can opt out of codes and notices."""
    hours: Hours | None = None
    """The hours in which it may send, in the account's time zone; None is at any time."""
    resend_unknown: Literal["never", "once", "probable"] = "never"
    """Whether an unknown call is made once more by itself. `probable`: only if the gateway probably did not take it
    (`domain.evidence`)."""
    keep_text: bool = True
    """Whether its texts stay in the ledger once nothing of them can be sent any more."""
    caps: tuple[Cap, ...] = ()
    """How often one mobile may be sent to from one account. A recipient beyond a cap is suppressed."""


CODE_CAPS = (Cap(3, 60), Cap(10, 3600), Cap(20, 86_400))
"""People who request codes for other people's mobiles cost money and annoy the owners. People who wait for their own
code need no more: platforms allow fewer (Alibaba Cloud, 短信流控: one a minute, five an hour, ten a day)."""

# The defaults. The operator may change them (`[lanes.NAME]` in the file of SMS_CONFIG).
LANES = {
    lane.name: lane
    for lane in (
        # 验证码: a late code confuses people, and may lock them out
        Lane("otp", "sms.otp", timedelta(minutes=5), 0.0, shares_calls=False, keep_text=False, caps=CODE_CAPS),
        Lane("notice", "sms.notice", timedelta(hours=24), 0.25),  # 通知
        Lane(  # 营销
            "marketing", "sms.marketing", timedelta(hours=24), 0.5, heeds_optouts=True, hours=Hours(time(8), time(21))
        ),
    )
}

CALLS_AT_ONCE = 10
"""The calls that a worker makes at the same time in a lane, for each unit of its --concurrency."""


def lane_of_queue(queue: str | None) -> str | None:
    """The name of the lane with this queue; None for another queue."""
    return next((lane.name for lane in LANES.values() if lane.queue == queue), None)


PUSH_QUEUE = "sms.push"
PUSHES_QUEUED = 5000
"""With this many tasks in the queue of pushes, the workers have enough to do until the next tick."""
UPKEEP_QUEUE = "sms.upkeep"

QUEUES = (*(lane.queue for lane in LANES.values()), PUSH_QUEUE, UPKEEP_QUEUE)
"""Every queue of the system."""

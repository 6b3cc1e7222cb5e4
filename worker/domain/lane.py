"""The three lanes: what kind of text a message is decides its queue, when it may be sent and how long it is worth it."""

from dataclasses import dataclass
from datetime import time, timedelta
from typing import Literal

from worker.domain.caps import Cap
from worker.domain.hours import Hours


@dataclass(frozen=True, slots=True)
class Lane:
    """A Celery queue and a policy."""

    name: str
    queue: str
    validity: timedelta
    """How long after its time a message may still go out."""
    floor: float
    """The share of an account's tokens that this lane leaves for more urgent ones."""
    shares_calls: bool = True
    """Whether messages with the same text go out in one call."""
    heeds_optouts: bool = False
    """Whether whoever opted out is left out: nobody opts out of codes and notices."""
    hours: Hours | None = None
    """When it may send, in the account's time zone; None at any time."""
    resend_unknown: Literal["never", "once", "probable"] = "never"
    """Whether a call is made once more by itself of which it cannot be known whether it was taken; `probable`: only where
    it was probably not (`domain.evidence`)."""
    keep_text: bool = True
    """Whether its texts stay in the ledger once nothing of them can be sent any more."""
    caps: tuple[Cap, ...] = ()
    """How often one mobile may be sent to from one account; who has been is suppressed."""


CODE_CAPS = (Cap(3, 60), Cap(10, 3600), Cap(20, 86_400))
"""Who asks for codes for somebody else's mobile costs money and annoys its owner. Nobody who waits for his own needs more: carriers and
platforms allow fewer (Alibaba Cloud, 短信流控: one a minute, five an hour, ten a day)."""

# As they are unless the operator says otherwise (`[lanes.NAME]` in the file of SMS_CONFIG).
LANES = {
    lane.name: lane
    for lane in (
        # 验证码: a code that comes late locks out, and confuses
        Lane("otp", "sms.otp", timedelta(minutes=5), 0.0, shares_calls=False, keep_text=False, caps=CODE_CAPS),
        Lane("notice", "sms.notice", timedelta(hours=24), 0.25),  # 通知
        Lane(  # 营销
            "marketing", "sms.marketing", timedelta(hours=24), 0.5, heeds_optouts=True, hours=Hours(time(8), time(21))
        ),
    )
}

CALLS_AT_ONCE = 10
"""Calls that a worker makes side by side in a lane, for each unit of its --concurrency."""


def lane_of_queue(queue: str | None) -> str | None:
    """The name of the lane that has this queue; None where none has."""
    return next((lane.name for lane in LANES.values() if lane.queue == queue), None)


PUSH_QUEUE = "sms.push"
PUSHES_QUEUED = 5000
"""With so many tasks in their queue, pushes have enough to go on with until the next tick."""
UPKEEP_QUEUE = "sms.upkeep"

QUEUES = (*(lane.queue for lane in LANES.values()), PUSH_QUEUE, UPKEEP_QUEUE)
"""Every queue of the system."""

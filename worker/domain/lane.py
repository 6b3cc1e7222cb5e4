"""The three lanes: what kind of text a message is decides its queue and how long it is worth sending."""

from dataclasses import dataclass
from datetime import timedelta


@dataclass(frozen=True, slots=True)
class Lane:
    """A Celery queue and a policy."""

    name: str
    queue: str
    validity: timedelta
    """How long after its time a message may still go out."""
    per_task: int
    """Submissions that one task makes, one after the other: a task costs about as much as a call, so it is shared."""


LANES = {
    lane.name: lane
    for lane in (
        Lane(
            "otp", "sms.otp", timedelta(minutes=5), per_task=1
        ),  # 验证码: a code that comes late locks out, and confuses
        Lane("notice", "sms.notice", timedelta(hours=24), per_task=10),  # 通知
        Lane("marketing", "sms.marketing", timedelta(hours=24), per_task=10),  # 营销
    )
}

PUSH_QUEUE = "sms.push"
UPKEEP_QUEUE = "sms.upkeep"

QUEUES = (*(lane.queue for lane in LANES.values()), PUSH_QUEUE, UPKEEP_QUEUE)
"""Every queue of the system, most urgent first: a worker that serves several takes from them in this order."""

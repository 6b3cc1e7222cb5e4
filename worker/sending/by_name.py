"""By name: puts messages that a backend app published without our client into the intake, where all messages wait."""

import json
from collections.abc import Mapping
from datetime import datetime

from redis import Redis

from worker.domain.caller import as_caller
from worker.domain.lane import LANES, lane_of_queue
from worker.domain.message import Fault, Refused, id_of, is_id
from worker.domain.read_message import read_message
from worker.redis_store import intake


def put_by_name(
    redis: Redis, fields: object, task_id: str, *, caller: str, queue: str | None = None, now: datetime
) -> str:
    """Puts a message that was published by name into the intake. A message that cannot be sent goes there too, to be
    kept as refused. Returns its lane.

    The message names its lane, or its queue does; they must not differ. A message without either is refused, because a
    code taken for a notice would be sent for a day.
    """
    default_id = task_id if is_id(task_id) else id_of(task_id.encode("utf-8", "surrogatepass"))
    lane = lane_of_queue(queue)
    try:
        if lane is None and queue is not None and isinstance(fields, Mapping) and not fields.get("lane"):
            queues = ", ".join(each.queue for each in LANES.values())
            raise Refused(
                [Fault("lane", f"is missing, and the queue {queue} is that of no lane; send it to one of {queues}")]
            )
        # Messages of unknown accounts are let in: another worker may have newer settings.
        message = read_message(fields, now=now, default_id=default_id, caller=as_caller(caller), lane=lane)
        intake.put(redis, [message], now=now, if_full=True)
    except Refused as error:
        lane = lane or next(iter(LANES))
        intake.put_foreign(redis, lane, default_id, _payload(fields).encode(), error.faults, now=now)
        return lane
    return message.lane


def _payload(fields: object) -> str:
    # Celery's JSON also carries times and the like, and the payload may be nested too deeply to be written.
    try:
        return json.dumps(fields, default=str)
    except (TypeError, ValueError, RecursionError) as error:
        return f"a {type(fields).__name__} that cannot be written as JSON: {type(error).__name__}"

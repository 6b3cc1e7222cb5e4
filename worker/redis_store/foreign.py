"""Foreign frames: frames in our queues that are not our tasks. None ends a worker, is lost in silence, or is logged.

Anybody who can write to Redis can put one there: by a wrong name (`send_task("sms.sned", …)`), with arguments that
nothing can read, or by hand. Celery logs such a task whole, with its mobiles and its text, and drops it. kombu's
transport ends the worker if the frame is malformed. Here each foreign frame goes into the intake. From there it comes
among the refused messages of the ledger.
"""

import json
import logging
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import cache, partial
from typing import Any

import celery.worker.consumer
import kombu.transport.redis
from celery import signals
from kombu.exceptions import ContentDisallowed, SerializationError
from kombu.utils.encoding import bytes_to_str
from kombu.utils.json import loads
from redis import Redis
from redis.exceptions import RedisError

from worker.config import load_settings, revealed
from worker.domain.lane import LANES, lane_of_queue
from worker.domain.message import Fault, id_of, is_id
from worker.redis_store import intake
from worker.redis_store.connect import open_redis

log = logging.getLogger(__name__)

PATIENCE_SECONDS = 2
"""How long Redis may take to keep a frame. Celery reads no further frame meanwhile."""
UNREADABLE = (
    *(ValueError, TypeError, LookupError, AttributeError, ArithmeticError, RecursionError),
    *(SerializationError, ContentDisallowed),
)
"""The errors that reading data of an unknown form may raise."""
TEXTS = {"task": str, "id": str, "shadow": str | None, "origin": str | None}
"""Headers that Celery reads as a text. `sms.send` reads the last."""
FARTHEST = timedelta(days=366)
"""The limit of a task's times, as of the `at` of a message. A time beyond it is a mistake. With a time that no clock
can hold, Celery logs the task whole and drops it."""
AFTERWARDS = {"callbacks", "errbacks", "chain", "chord"}
"""The options beside a task's arguments that name tasks to run after it. Our tasks have none. A value that is not a
task would end the thread before the frame is acknowledged. Any other option there would take the place of a header."""


@cache
def _redis() -> Redis:
    return open_redis(revealed(load_settings().redis_url), patience_seconds=PATIENCE_SECONDS)


def keep(queue: str, name: str | None, frame: bytes, fault: str) -> bool:
    """Puts a frame of the queue into the intake, so that a worker refuses it for that fault. Returns whether it did.

    `name` is the id of the task. Where it cannot be an id, the frame gets one. It logs an error of Redis, raising none.
    """
    lane = lane_of_queue(queue) or next(iter(LANES))
    item_id = name if name is not None and is_id(name) else id_of(frame)
    try:
        intake.put_foreign(_redis(), lane, item_id, frame, [Fault("what came", fault)], now=datetime.now(UTC))
    except RedisError as error:
        log.warning("a frame of %d bytes in %s can be neither run nor kept: %s", len(frame), queue, error)
        return False
    log.error("a frame in %s cannot be run: it %s; see `sms show %s`", queue, fault, item_id)
    return True


class Channel(kombu.transport.redis.Channel):
    """kombu's channel, which keeps malformed frames in the intake and goes on."""

    def _create_client(self, asynchronous: bool = False) -> Any:
        client = super()._create_client(asynchronous)
        client.parse_response = partial(self._answer, client.parse_response)
        return client

    def _answer(self, read: Callable[..., Any], connection: Any, command: str, **options: Any) -> Any:
        answer = read(connection, command, **options)
        if command != "BRPOP" or not answer or self._is_frame(answer[1]):
            return answer
        keep(bytes_to_str(answer[0]).partition(self.sep)[0], None, answer[1], "is not a task of Celery")
        # kombu reads None as a BRPOP that ran out of time.
        return None

    def _is_frame(self, frame: bytes) -> bool:
        try:
            message = self.Message(loads(bytes_to_str(frame)), channel=self)
            route = message.delivery_info["exchange"], message.delivery_info["routing_key"]
        except UNREADABLE:
            return False
        return isinstance(message.headers, dict) and all(map(_is_text, (message.delivery_tag, *route)))


class Consumer(celery.worker.consumer.Consumer):  # type: ignore[misc]  # it has no type hints
    """Celery's consumer, which keeps tasks that it cannot run, instead of logging and dropping them."""

    def create_task_handler(self, *args: Any, **kwargs: Any) -> Any:
        """Returns the function that Celery calls with each message."""
        run = super().create_task_handler(*args, **kwargs)

        def run_or_keep(message: Any) -> None:
            try:
                if fault := _fault(message):
                    self._keep(message, fault)
                else:
                    run(message)
            except UNREADABLE as error:
                self._keep(message, f"cannot be read ({type(error).__name__})")

        return run_or_keep

    def on_unknown_message(self, _body: Any, message: Any) -> None:
        """Celery calls it with a message that is not a task."""
        self._keep(message, "is not a task of Celery")
        signals.task_rejected.send(sender=self, message=message, exc=None)

    def on_unknown_task(self, _body: Any, message: Any, exc: Exception) -> None:
        """Celery calls it with a task whose name is none of ours."""
        name = str(message.headers.get("task"))
        self._keep(
            message, f"is for the task {name[:60]!r}, which this version does not have; did its sender mean sms.send?"
        )
        signals.task_unknown.send(sender=self, message=message, exc=exc, name=name, id=message.headers.get("id"))

    def on_invalid_task(self, _body: Any, message: Any, exc: Exception) -> None:
        """Celery calls it with a task whose arguments or options are malformed."""
        self._keep(message, f"cannot be read ({type(exc).__name__}): Celery writes no such arguments or options")
        signals.task_rejected.send(sender=self, message=message, exc=exc)

    def on_decode_error(self, message: Any, exc: Exception) -> None:
        """Celery calls it with a task whose body cannot be decoded."""
        self._keep(message, f"cannot be read ({type(exc).__name__}): its body is not what its content type says")

    def _keep(self, message: Any, fault: str) -> None:
        headers, body = message.headers or {}, message.body
        frame = {"task": headers.get("task"), "content_type": message.content_type, "body": _text(body)}
        name = headers.get("id") if isinstance(headers.get("id"), str) else None
        queue = str(message.delivery_info.get("routing_key"))
        if keep(queue, name, json.dumps(frame, default=str).encode(), fault):
            message.ack_log_error(log, self.connection_errors)
        else:
            # The frame goes back: in the hands of this worker it would take up a place for ever.
            message.reject_log_error(log, self.connection_errors, requeue=True)


def _text(body: Any) -> Any:
    return body.decode("utf-8", "backslashreplace") if isinstance(body, bytes) else body


def _is_text(value: object) -> bool:
    """Whether the value is a text that can be a name in Redis: half of a surrogate pair cannot be written."""
    return isinstance(value, str) and value.encode("utf-8", "replace").decode() == value


def _time_fault(headers: Any, now: datetime) -> str | None:
    """A fault in the times of a task, for which Celery would drop it or hold it for ever; None without one.

    Celery itself refuses a value that is not a time.
    """
    times = {}
    for name in ("eta", "expires"):
        try:
            time = datetime.fromisoformat(headers.get(name) or "")
        except (TypeError, ValueError):
            continue
        times[name] = time.replace(tzinfo=time.tzinfo or UTC)
    if odd := [name for name, time in times.items() if abs(time - now) > FARTHEST]:
        return f"is a task whose {odd[0]} is more than {FARTHEST.days} days from now"
    if "expires" in times and times["expires"] < now:
        return "is a task that expired before a worker took it"
    return None


def _fault(message: Any) -> str | None:
    """A fault that Celery does not check for: a number for a name, arguments that are not a list; None without one."""
    if "task" not in message.headers:
        return None
    if odd := [name for name, kind in TEXTS.items() if not isinstance(message.headers.get(name), kind)]:
        return f"is a task whose {odd[0]} is not a text"
    if fault := _time_fault(message.headers, datetime.now(UTC)):
        return fault
    if message.errors or message.content_type != "application/json":
        return None
    match message.payload:
        case [list(), dict(), dict() | None as options]:
            odd = sorted((options or {}).keys() - AFTERWARDS)
        case {"args": list() | None, "kwargs": dict() | None} as options:
            odd = []
        case _:
            return "is a task without arguments that Celery could read"
    odd += [name for name in sorted(AFTERWARDS) if message.headers.get(name) or (options or {}).get(name)]
    return f"is a task with the option {odd[0][:60]!r}, which no task of ours has; leave it out" if odd else None

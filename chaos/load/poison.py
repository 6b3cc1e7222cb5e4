"""Broken messages: put into the intake by hand, sent by task name or by the client, or pushed onto a queue.

The system must keep each of them with the reason, if there is anything to keep, and must not delay their neighbours.
"""

import json
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from itertools import count
from typing import Any

from celery import Celery
from redis import Redis

from worker.client import Refused, SmsClient
from worker.devstack.stack import Stack
from worker.domain.lane import QUEUES

NEVER = "9999-12-31T23:59:59+00:00"
DEEP = 900
PREFIX = "137"
_DEEP_JSON = "[" * DEEP + "]" * DEEP


@dataclass
class Poison:
    """The poison that has been given so far."""

    stack: Stack
    accounted: dict[str, str] = field(default_factory=dict)
    """A description of each poison that the ledger must know at the end, refused or as a message; by its id."""
    refused_by_client: int = 0
    _numbers: Iterator[int] = field(default_factory=lambda: count(1))

    def doses(self) -> list[tuple[str, Callable[[], object]]]:
        """The name of each dose and the function that gives it: every kind, for each lane that users wait for."""
        return [
            *(
                (f"poison in the intake of {lane}: {name}", partial(self._by_hand, lane, name))
                for lane in ("notice", "otp")
                for name in _BY_HAND
            ),
            *((f"poison by name: {name}", partial(self._by_name, name)) for name in _BY_NAME),
            ("poison by the client: a time in the year 9999", lambda: self._by_client({"at": NEVER})),
            ("poison by the client: metadata nested 900 deep", lambda: self._by_client({"metadata": {"a": _deep()}})),
            ("poison by the client: a caller with a NUL", lambda: self._by_client({}, caller="a\0b")),
            # Into each queue, because the sick worker may take one of them and end.
            *((f"poison in {queue}: a frame that is not a task", partial(self._frame, queue)) for queue in QUEUES),
        ]

    def _mobile(self) -> str:
        return f"{PREFIX}{next(self._numbers):08}"

    def _by_hand(self, lane: str, name: str) -> None:
        """Writes into Redis as a sender of another version might: the hash of texts, and the set of those that wait."""
        poison_id = f"poison-{uuid.uuid4()}"
        text = _BY_HAND[name]({**_good(poison_id, self._mobile()), "lane": lane})
        with Redis.from_url(self.stack.redis_url) as redis, redis.pipeline(transaction=True) as pipeline:
            pipeline.hset(f"sms:intake:{lane}", poison_id, text)
            pipeline.zadd(f"sms:intake:{lane}:waiting", {poison_id: datetime.now(UTC).timestamp()})
            pipeline.execute()
        self.accounted[poison_id] = f"in the intake of {lane}: {name}"

    def _by_name(self, name: str) -> None:
        app = Celery(broker=self.stack.redis_url, set_as_current=False)
        message = {"to": self._mobile(), "content": "您的包裹已到", **_BY_NAME[name]}
        task = app.send_task("sms.send", kwargs={"message": message}, queue="sms.notice", ignore_result=True)
        self.accounted[str(task.id)] = f"by name: {name}"

    def _by_client(self, fields: dict[str, Any], **client: str) -> None:
        try:
            poison_id = SmsClient(self.stack.redis_url, **client).send(self._mobile(), "您的包裹已到", **fields)
        except (Refused, ValueError):
            self.refused_by_client += 1
        else:
            self.accounted[poison_id] = f"by the client: {fields or client}"

    def _frame(self, queue: str) -> None:
        with Redis.from_url(self.stack.redis_url) as redis:
            redis.lpush(queue, "[[[")


def _good(message_id: str, mobile: str) -> dict[str, Any]:
    return {
        "id": message_id,
        "to": [mobile],
        "content": "您的包裹已到",
        "lane": "notice",
        "account": "default",
        "created_at": datetime.now(UTC).isoformat(),
        "at": None,
        "valid_for": None,
        "metadata": None,
        "caller": "poison",
    }


def _deep() -> list[Any]:
    return json.loads(_DEEP_JSON)  # type: ignore[no-any-return]


def _with(**fields: Any) -> Callable[[dict[str, Any]], bytes]:
    return lambda good: json.dumps({**good, **fields}).encode()


_BY_HAND: dict[str, Callable[[dict[str, Any]], bytes]] = {
    "bytes that are not UTF-8": lambda _: b"\xff\xfe{",
    "half a JSON": lambda good: json.dumps(good).encode()[:40],
    "a time in the year 9999": _with(at=NEVER),
    "an unknown lane": _with(lane="no-such-lane"),
    "content that is null": _with(content=None),
    "a NUL in the caller": _with(caller="a\0b"),
    "half a surrogate in the content": _with(content="您的包裹\ud83d已到"),
    "metadata nested 900 deep": lambda good: (
        json.dumps({**good, "metadata": 0})
        .encode()[:-1]
        .replace(b'"metadata": 0', b'"metadata": ' + _DEEP_JSON.encode())
        + b"}"
    ),
}
_BY_NAME: dict[str, dict[str, Any]] = {
    "a time in the year 9999": {"at": NEVER},
    "metadata nested 900 deep": {"metadata": {"a": _deep()}},
    "a NUL in the content": {"content": "您的包裹\0已到"},
}

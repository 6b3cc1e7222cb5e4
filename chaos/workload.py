"""The workload: a backend app that sends messages, and people who reply. It keeps a history of what `send` returned."""

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any

from chaos.world import World
from worker.client import SmsClient, Unavailable

RETRY_SECONDS = 0.3
TWICE = 0.15
"""The share of the calls that send a key once more."""

Fields = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Sent:
    """A message whose call of `send` returned; `began` is the start of that call in Unix seconds."""

    id: str
    mobiles: tuple[str, ...]
    began: float


@dataclass
class History:
    """What the backend app saw."""

    accepted: dict[str, Sent] = field(default_factory=dict)
    """By message id. Only a call that returned counts."""
    calls: int = 0
    raised: int = 0
    """Calls that raised Unavailable; each try counts."""
    given_up: int = 0
    """Messages whose send never returned. They may have been enqueued or not."""
    sent_twice: int = 0
    faults: list[str] = field(default_factory=list)
    """What must never happen: another error, or another id for the same key."""


class Workload:
    """A thread that sends `messages` messages, spread over `seconds`. Every mobile is in only one message."""

    def __init__(self, redis_url: str, seed: int, messages: int, seconds: float) -> None:
        self.history = History()
        self._client = SmsClient(redis_url)
        self._random = Random(f"workload {seed}")
        self._messages, self._seconds = messages, seconds
        self._keyed: list[tuple[list[Fields], list[str]]] = []
        self._number = 0
        self._mobiles = 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="workload", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Ends the thread. The current call is still tried for a while."""
        self._stop.set()
        self._thread.join(timeout=15)

    def _run(self) -> None:
        began = time.monotonic()
        while self._number < self._messages and not self._stop.is_set():
            ahead = began + self._number * self._seconds / self._messages - time.monotonic()
            if ahead > 0:
                self._stop.wait(ahead)
            self._one_call()

    def _one_call(self) -> None:
        dice = self._random.random()
        if self._keyed and dice < TWICE / 2:
            self._send_again()
        elif dice < 0.9:
            self._send_new([self._message()])
        else:
            # In every other batch all messages have the same text, so that they may share a call.
            text = self._random.choice((None, f"您的号码在 {self._number:06} 之后"))
            self._send_new([self._message(text) for _ in range(self._random.randint(2, 20))])

    def _message(self, text: str | None = None) -> Fields:
        self._number += 1
        many = self._random.random() < 0.1
        lane = "notice" if many else self._random.choice(("otp", "notice"))
        to = [self._mobile() for _ in range(self._random.randint(2, 60) if many else 1)]
        return {"to": to, "content": text or f"您的号码是 {self._number:06}", "lane": lane}

    def _mobile(self) -> str:
        self._mobiles += 1
        return f"13{self._mobiles:09}"

    def _send_new(self, messages: list[Fields]) -> None:
        keyed = self._random.random() < 0.5
        if keyed:
            messages = [{**fields, "key": f"key {fields['to'][0]}"} for fields in messages]
        ids = self._send(messages, again=keyed)
        if ids and keyed:
            self._keyed.append((messages, ids))

    def _send_again(self) -> None:
        messages, before = self._random.choice(self._keyed[-50:])
        self.history.sent_twice += len(messages)
        ids = self._send(messages, again=True)
        if ids and ids != before:
            self.history.faults.append(f"the same keys gave {ids}, and {before} before")

    def _send(self, messages: Sequence[Fields], *, again: bool) -> list[str]:
        """The ids that `send` returned.

        Empty if it was given up: at once without a key, else when the workload is to stop.
        """
        while True:
            began = time.time()
            try:
                ids = self._call(messages)
            except Unavailable:
                self.history.raised += 1
            except Exception as error:  # noqa: BLE001 - anything else that it raises is a fault of the client
                self.history.faults.append(f"send raised {error!r}")
                again = False
            else:
                self._note(ids, messages, began)
                return ids
            if not again or self._stop.wait(RETRY_SECONDS):
                self.history.given_up += len(messages)
                return []

    def _call(self, messages: Sequence[Fields]) -> list[str]:
        self.history.calls += 1
        send: Callable[..., str] = self._client.send
        return [send(**messages[0])] if len(messages) == 1 else self._client.send_many(messages)

    def _note(self, ids: Sequence[str], messages: Sequence[Fields], began: float) -> None:
        for message_id, fields in zip(ids, messages, strict=True):
            self.history.accepted[message_id] = Sent(message_id, tuple(fields["to"]), began)


class Repliers:
    """People who reply to a text that they got, each time with another content."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._mobiles: list[str] = []
        self._seen = 0

    def reply(self) -> None:
        """Has the gateway push a reply of a mobile that it took a call for, if there is one."""
        calls = self._world.stack.ask_simulator(f"calls?since={self._seen}&limit=200")["calls"]
        self._seen += len(calls)
        self._mobiles += [call["mobiles"][0] for call in calls]
        if self._mobiles:
            content = f"回复 {len(self._world.replies):05}"
            order = {"mobile": self._world.random.choice(self._mobiles), "content": content}
            self._world.stack.ask_simulator("reply", order)
            self._world.replies.append(content)

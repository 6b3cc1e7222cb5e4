"""Pushes reports and replies to the callback URL until it answers SUCCESS (document, 2. 推送接口).

taken call ─▶ reports ─(delay)─▶ batch ─▶ courier ─▶ SUCCESS ─▶ the scripted reply, if there is one
                                   ▲         │
                                   └─(retry)─┘ anything else
"""

import asyncio
import contextlib
import math
from dataclasses import dataclass, field

import aiohttp

from simulator.fault_script import FaultScript
from simulator.push_http import TIMEOUT_SECONDS, PushAnswer, post_cut_short, post_push
from simulator.push_queue import Push, PushQueue
from simulator.push_xml import Batch, Reply, Report, push_body
from simulator.reports import results_of
from simulator.rules import Call

# Items fall due in ticks, so that the reports of many calls travel in one push.
TICK_SECONDS = 0.02
BEFORE_ANSWER_SECONDS = 1


@dataclass(frozen=True, slots=True)
class PushSettings:
    """How pushes are batched, delayed and tried again. A `max_attempts` of 0 means no limit."""

    batch: int = 50
    delay_seconds: float = 0.1
    retry_seconds: float = 1
    max_attempts: int = 100
    at_once: int = 4


@dataclass(slots=True)
class Tally:
    made: int = 0
    acknowledged: int = 0
    given_up: int = 0


@dataclass(slots=True)
class PushCounts:
    """For pushes, `made` counts requests and `acknowledged` their SUCCESS.

    For reports and replies both count items, once each.
    """

    pushes: Tally = field(default_factory=Tally)
    reports: Tally = field(default_factory=Tally)
    replies: Tally = field(default_factory=Tally)
    cut_short: int = 0
    cut_short_answered_success: int = 0

    def items_waiting(self) -> int:
        return sum(tally.made - tally.acknowledged - tally.given_up for tally in (self.reports, self.replies))

    def tally_of(self, item: Report | Reply) -> Tally:
        return self.reports if isinstance(item, Report) else self.replies


class Pusher:
    """A few couriers that empty the queue. A push that waits for its next try occupies none of them."""

    def __init__(self, settings: PushSettings, fault_script: FaultScript) -> None:
        self._settings = settings
        self._fault_script = fault_script
        self._wake = asyncio.Event()
        self._forget()

    def _forget(self) -> None:
        self.paused = False
        self.counts = PushCounts()
        self.given_up: list[Push] = []
        self._queue = PushQueue()

    def start(self) -> None:
        self.session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=TIMEOUT_SECONDS))
        self._couriers = [asyncio.create_task(self._courier()) for _ in range(self._settings.at_once)]

    async def stop(self) -> None:
        for courier in self._couriers:
            courier.cancel()
        await asyncio.gather(*self._couriers, return_exceptions=True)
        await self.session.close()

    async def reset(self) -> None:
        """Forgets every item, whether it waits or is on its way."""
        await self.stop()
        self._forget()
        self.start()

    def set_paused(self, paused: bool) -> None:
        self.paused = paused
        self.wake()

    def wake(self) -> None:
        """Lets the couriers look again, because something is due earlier than they knew."""
        self._wake.set()

    async def call_taken(self, call: Call) -> None:
        """Queues the call's reports.

        With `before_answer` it pushes them now, and waits at most a second until they are settled.
        """
        if self._fault_script.behaviour.push_url is None:
            return
        reports, replies = results_of(call, self._fault_script)
        self.counts.reports.made += len(reports)
        for reply in replies:
            self.push_reply(reply)
        if reports and self._fault_script.behaviour.pushes.before_answer:
            push = self._push(reports)
            self._queue.tries.appendleft((0, push))
            self.wake()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(push.settled.wait(), BEFORE_ANSWER_SECONDS)
            return
        if not self._queue.reports:
            self.wake()
        due = math.ceil((_now() + self._settings.delay_seconds) / TICK_SECONDS) * TICK_SECONDS
        self._queue.reports.extend((due, report) for report in reports)

    def push_reply(self, reply: Reply) -> None:
        self.counts.replies.made += 1
        self._queue.replies.append((_now(), reply))
        self.wake()

    def count(self, answer: PushAnswer) -> bool:
        self.counts.pushes.made += 1
        self.counts.pushes.acknowledged += answer.success
        return answer.success

    async def _courier(self) -> None:
        while True:
            await self._try(await self._next())

    async def _next(self) -> Push:
        while True:
            ready = not self.paused and self._fault_script.behaviour.push_url is not None
            if ready and (push := self._take()):
                return push
            self._wake.clear()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._wake.wait(), self._queue.seconds_to_next(_now()) if ready else None)

    def _take(self) -> Push | None:
        if waiting := self._queue.take_try(_now()):
            return waiting
        faults = self._fault_script.behaviour.pushes
        limit = 1 if faults.split else None if faults.merge else self._settings.batch
        batch = self._queue.take_batch(_now(), limit, self._fault_script.push_dice if faults.reordered else None)
        return self._push(batch) if batch else None

    def _push(self, batch: Batch) -> Push:
        lies = self._fault_script.behaviour.pushes.lie_count
        return Push(batch, push_body(batch, count=len(batch) + 1 if lies else None))

    async def _try(self, push: Push) -> None:
        faults = self._fault_script.behaviour.pushes
        push.attempts += 1
        if any(await asyncio.gather(*(self._send(push.body) for _ in range(2 if faults.doubled else 1)))):
            push.acknowledged += 1
            if push.acknowledged == 1:
                self._settle(push, given_up=False)
            if push.acknowledged > faults.ignore_success:
                return
        if push.attempts == self._settings.max_attempts:
            if not push.acknowledged:
                self._settle(push, given_up=True)
            return
        self._queue.tries.append((_now() + self._settings.retry_seconds, push))
        self.wake()

    async def _send(self, body: bytes) -> bool:
        """Makes one request and returns whether it read SUCCESS.

        A push that is cut short comes again whatever the answer.
        """
        behaviour = self._fault_script.behaviour
        if behaviour.push_url is None:
            return False
        if self._fault_script.push_dice.random() >= behaviour.pushes.cut_short:
            return self.count(await post_push(self.session, behaviour.push_url, body))
        self.counts.cut_short += 1
        self.counts.cut_short_answered_success += (await post_cut_short(behaviour.push_url, body)).success
        return False

    def _settle(self, push: Push, *, given_up: bool) -> None:
        push.settled.set()
        if given_up:
            self.counts.pushes.given_up += 1
            self.given_up.append(push)
        for item in push.batch:
            tally = self.counts.tally_of(item)
            tally.given_up += given_up
            tally.acknowledged += not given_up
            if isinstance(item, Report) and item.reply is not None:
                self.push_reply(Reply(item.epr_id, item.user_id, item.mobile, item.msg_id, item.reply))


def _now() -> float:
    return asyncio.get_running_loop().time()

"""Serving a lane: one bell starts all the work that there is, and a second bell tells another worker where there is
more.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from datetime import UTC, datetime
from itertools import chain, repeat
from queue import Empty, SimpleQueue
from threading import Barrier, Event, get_ident

import pytest
from redis.exceptions import RedisError

from worker.domain.submission import Claimed
from worker.sending.pull import Pulled
from worker.sending.serve import Server, Verbs
from worker.wiring import is_store_away

NOW = datetime(2026, 11, 22, 4, 0, tzinfo=UTC)
CALL = Claimed(1, 1, 1, 1, NOW, NOW, "notice", False, "您好", ("13800138000",))
NOTHING = Pulled([])
NOTHING_TO_DO = "nothing"
PATIENCE_SECONDS = 10


def calls(*submission_ids: int) -> Sequence[Claimed]:
    return [replace(CALL, id=submission_id) for submission_id in submission_ids]


class Lane:
    """A lane whose pulls return these answers, and then nothing more. `did` has what was done."""

    def __init__(
        self,
        *answers: Pulled | Exception,
        places: int = 10,
        in_intake: Sequence[bool | Exception] = (False,),
        only_waiter: Callable[[], bool] = lambda: True,
        submit: Callable[[Claimed], object] = lambda _: None,
        may_work: Sequence[bool] = (),
        may_call: Sequence[bool] = (),
        pull_seconds: float = 0,
    ) -> None:
        self.did: SimpleQueue[object] = SimpleQueue()
        self.stopping = Event()
        self.wanted: SimpleQueue[int] = SimpleQueue()
        self._answers = chain(answers, repeat(NOTHING))
        self._in_intake = chain(in_intake, repeat(False))
        self._submit = submit
        self._pull_seconds = pull_seconds
        self._may_work = chain(may_work, repeat(True))
        self._may_call = chain(may_call, repeat(True))
        verbs = Verbs(
            may_work=lambda: next(self._may_work),
            take_call_allowance=lambda: places if next(self._may_call) else 0,
            take_in=lambda: self._answer(next(self._in_intake)),
            pull=self._pull,
            submit=self._call,
            ring=lambda: self.did.put("ring"),
            is_away=is_store_away,
            only_waiter=lambda: nullcontext(only_waiter()),
        )
        self.server = Server("notice", verbs, calls_at_once=places, stopping=self.stopping)

    def _answer(self, answer: object) -> bool:
        self.did.put("take in")
        if isinstance(answer, Exception):
            raise answer
        return bool(answer)

    def _pull(self, places: int) -> Pulled:
        self.wanted.put(places)
        answer = next(self._answers)
        self.stopping.wait(self._pull_seconds)
        if isinstance(answer, Exception):
            self.did.put(type(answer))
            raise answer
        if answer is NOTHING:
            self.did.put(NOTHING_TO_DO)
        return answer

    def _call(self, claimed: Claimed) -> None:
        self._submit(claimed)
        self.did.put(claimed.id)

    def until(self, what: object, times: int = 1) -> list[object]:
        """Waits until it has done that, and returns all that it has done."""
        done: list[object] = []
        while done.count(what) < times:
            done.append(self.did.get(timeout=PATIENCE_SECONDS))
        return done


@contextmanager
def served(lane: Lane) -> Iterator[Lane]:
    lane.server.wake()
    yield lane
    lane.stopping.set()
    lane.server.finish()


def test_from_one_bell_on_it_takes_in_all_and_calls_all() -> None:
    with served(Lane(Pulled(calls(1, 2)), Pulled(calls(3)), in_intake=[True, True])) as lane:
        done: list[object] = []
        while done.count("take in") < 3 or not {1, 2, 3} <= set(done):
            done.append(lane.did.get(timeout=PATIENCE_SECONDS))
    assert "ring" not in done


def test_where_more_is_due_than_it_could_claim_it_goes_on_and_tells_another_worker() -> None:
    with served(Lane(Pulled(calls(1), more=True), Pulled(calls(2)))) as lane:
        assert "ring" in lane.until(2)


def test_it_claims_no_more_than_it_can_call_at_once() -> None:
    first, second = Event(), Event()

    def wait(claimed: Claimed) -> None:
        (first if claimed.id == 1 else second).wait()

    with served(Lane(Pulled(calls(1, 2), more=True), Pulled(calls(3)), places=2, submit=wait)) as lane:
        assert lane.wanted.get(timeout=PATIENCE_SECONDS) == 2
        first.set()
        assert lane.wanted.get(timeout=PATIENCE_SECONDS) == 1
        second.set()


def test_in_a_backlog_places_that_come_free_soon_after_each_other_share_a_claim() -> None:
    begun, over = Barrier(5), {submission_id: Event() for submission_id in (1, 2, 3, 4)}

    def wait(claimed: Claimed) -> None:
        if claimed.id in over:
            begun.wait(PATIENCE_SECONDS)
            over[claimed.id].wait()

    backlog = Lane(
        Pulled(calls(1, 2, 3, 4), more=True),
        Pulled(calls(5, 6)),
        places=4,
        submit=wait,
        pull_seconds=0.05,
    )
    with served(backlog) as lane:
        assert lane.wanted.get(timeout=PATIENCE_SECONDS) == 4
        begun.wait(PATIENCE_SECONDS)
        over[1].set()
        with pytest.raises(Empty):
            lane.wanted.get(timeout=0.03)
        over[2].set()
        assert lane.wanted.get(timeout=PATIENCE_SECONDS) == 2
        over[3].set()
        over[4].set()


def test_where_a_probe_takes_the_last_place_before_the_next_claim_the_backlog_goes_on_after_it() -> None:
    begun, over = Barrier(5), {submission_id: Event() for submission_id in (1, 2, 3, 4, 9)}

    def wait(claimed: Claimed) -> None:
        if claimed.id in (1, 2, 3, 4):
            begun.wait(PATIENCE_SECONDS)
        if claimed.id in over:
            over[claimed.id].wait()

    backlog = Lane(Pulled(calls(1, 2, 3, 4), more=True), Pulled(calls(5)), places=4, submit=wait, pull_seconds=0.05)
    with served(backlog) as lane:
        assert lane.wanted.get(timeout=PATIENCE_SECONDS) == 4
        begun.wait(PATIENCE_SECONDS)
        over[1].set()
        lane.until(1)
        lane.server.call(*calls(9))
        with pytest.raises(Empty):
            lane.wanted.get(timeout=0.2)
        for each in over.values():
            each.set()
        lane.until(5)


def test_where_the_rate_is_used_up_it_waits_for_tokens_and_goes_on_by_itself() -> None:
    waits = Pulled([], wait=0.01)
    with served(Lane(waits, waits, Pulled(calls(1), wait=0.01), waits, Pulled(calls(2)))) as lane:
        assert "ring" not in lane.until(2)


def test_while_it_waits_for_the_tokens_of_one_account_it_looks_after_the_others_of_the_lane() -> None:
    with served(Lane(Pulled([], wait=3600), Pulled(calls(1), wait=3600))) as lane:
        lane.until(1)


def test_a_probe_is_called_in_a_thread_of_the_lane() -> None:
    threads: list[int] = []
    with served(Lane(submit=lambda _: threads.append(get_ident()))) as lane:
        lane.server.call(CALL)
        lane.until(CALL.id)
    assert threads != [get_ident()]


def test_where_no_worker_reaches_the_gateway_a_bell_goes_round_slower_and_slower() -> None:
    lane = Lane(may_call=[False] * 10_000)
    begun = time.monotonic()
    with served(lane):
        for _ in range(6):
            lane.until("ring")
            lane.server.wake()
    assert time.monotonic() - begun > 0.05 + 0.1 + 0.2 + 0.4 + 0.8


def test_while_another_worker_waits_for_the_tokens_of_the_lane_it_leaves_that_to_it() -> None:
    with served(Lane(Pulled([], wait=60), only_waiter=lambda: False)) as lane:
        lane.wanted.get(timeout=PATIENCE_SECONDS)
        lane.server.wake()
        lane.until(NOTHING_TO_DO)


def test_told_to_end_it_finishes_its_calls_begins_none_and_gives_the_lane_back() -> None:
    go_on = Event()
    lane = Lane(Pulled(calls(1), wait=0.01), Pulled([], wait=3600), submit=lambda _: go_on.wait())
    with served(lane):
        for _ in range(2):
            lane.wanted.get(timeout=PATIENCE_SECONDS)
        lane.stopping.set()
        go_on.set()
    assert set(_rest(lane)) - {"take in"} == {1, "ring"}
    assert lane.wanted.empty()


def test_while_it_waits_for_tokens_it_can_be_told_to_end_and_another_has_the_lane_at_once() -> None:
    waiting = Event()
    lane = Lane(Pulled([], wait=3600), only_waiter=lambda: waiting.set() or True)
    with served(lane):
        waiting.wait(PATIENCE_SECONDS)
    assert _rest(lane)[-1] == "ring"


def test_where_redis_is_away_it_waits_for_the_next_bell() -> None:
    with served(Lane(RedisError("away"), in_intake=[RedisError("away"), False])) as lane:
        lane.until(RedisError)
        lane.server.wake()
        lane.until(NOTHING_TO_DO)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_fault_of_its_own_ends_no_more_than_what_it_was_doing() -> None:
    with served(Lane(ValueError("a fault"))) as lane:
        lane.until(ValueError)
        # Again and again, as the tick does: a bell that comes while the thread is ending may be lost.
        while NOTHING_TO_DO not in _rest(lane):
            lane.server.wake()


def test_while_its_process_may_not_work_it_takes_nothing_on_and_then_it_goes_on() -> None:
    lane = Lane(Pulled(calls(1)), may_work=[False] * 4)
    with served(lane):
        lane.until(1)


def test_where_it_does_not_reach_the_gateway_it_claims_nothing_and_passes_the_bell_on() -> None:
    with served(Lane(Pulled(calls(1)), may_call=[False])) as lane:
        done = lane.until("ring")
        lane.server.wake()
        lane.until(1)
    assert 1 not in done


def test_a_call_that_fails_takes_no_other_with_it() -> None:
    def fail(claimed: Claimed) -> None:
        if claimed.id == 1:
            raise ValueError("a fault")

    with served(Lane(Pulled(calls(1)), Pulled(calls(2), more=True), submit=fail, places=1)) as lane:
        lane.server.wake()
        lane.until(2)


def test_accepting_does_not_wait_for_calls() -> None:
    go_on = Event()
    with served(Lane(Pulled(calls(1)), submit=lambda _: go_on.wait(), places=1)) as lane:
        lane.until("take in")
        lane.server.wake()
        lane.until("take in")
        go_on.set()


def test_calls_are_not_made_in_the_thread_of_whoever_rings() -> None:
    threads: list[int] = []
    with served(Lane(Pulled(calls(1)), submit=lambda _: threads.append(get_ident()))) as lane:
        lane.until(1)
    assert threads != [get_ident()]


def _rest(lane: Lane) -> list[object]:
    done = []
    while not lane.did.empty():
        done.append(lane.did.get())
    return done

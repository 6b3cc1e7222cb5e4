"""Group commit: threads that want something written at the same time have it written together."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier, Event

import pytest
from sqlalchemy.exc import OperationalError

from worker.runtime.group_commit import GroupCommit

DEADLINE = 10


def test_a_thread_alone_is_served_at_once() -> None:
    rounds: list[Sequence[int]] = []

    def run(items: Sequence[int]) -> list[int]:
        rounds.append(items)
        return [item * 2 for item in items]

    together = GroupCommit(run)
    assert [together(1), together(2)] == [2, 4]
    assert rounds == [[1], [2]]


def test_those_who_come_during_a_round_share_the_next() -> None:
    rounds: list[Sequence[int]] = []
    first_runs, others_wait = Event(), Event()

    def run(items: Sequence[int]) -> list[int]:
        rounds.append(items)
        if len(rounds) == 1:
            first_runs.set()
            assert others_wait.wait(DEADLINE)
        return [item * 2 for item in items]

    together = GroupCommit(run)
    with ThreadPoolExecutor(9) as threads:
        first = threads.submit(together, 0)
        assert first_runs.wait(DEADLINE)
        others = [threads.submit(together, number) for number in range(1, 9)]
        while len(together._waiting) < 8:
            pass
        others_wait.set()
        assert [first.result(), *(future.result() for future in others)] == [number * 2 for number in range(9)]
    assert [len(items) for items in rounds] == [1, 8]


def test_a_round_holds_no_more_than_it_is_told() -> None:
    sizes = []

    def run(items: Sequence[int]) -> Sequence[int]:
        sizes.append(len(items))
        return items

    together = GroupCommit(run, most=3)
    with ThreadPoolExecutor(16) as threads:
        assert list(threads.map(together, range(500))) == list(range(500))
    assert max(sizes) <= 3


def test_one_that_fails_does_not_spoil_the_round_for_the_others() -> None:
    ready = Barrier(8)

    def run(items: Sequence[int]) -> list[int]:
        if 3 in items:
            raise ValueError("three")
        return list(items)

    together = GroupCommit(run)

    def ask(number: int) -> int | str:
        ready.wait(DEADLINE)
        try:
            return together(number)
        except ValueError as error:
            return str(error)

    with ThreadPoolExecutor(8) as threads:
        assert list(threads.map(ask, range(8))) == [0, 1, 2, "three", 4, 5, 6, 7]


def test_where_the_database_is_gone_everybody_is_told_at_once() -> None:
    rounds = []

    def run(items: Sequence[int]) -> list[int]:
        rounds.append(len(items))
        raise OperationalError("BEGIN", None, ConnectionError("gone"), connection_invalidated=True)

    together = GroupCommit(run)
    with ThreadPoolExecutor(8) as threads:
        asked = [threads.submit(together, number) for number in range(40)]
        for future in asked:
            with pytest.raises(OperationalError):
                future.result(DEADLINE)
    assert sum(rounds) == 40


def test_after_a_failure_the_next_is_served_as_ever() -> None:
    def run(items: Sequence[int]) -> list[int]:
        return [1 // item for item in items]

    together = GroupCommit(run)
    with pytest.raises(ZeroDivisionError):
        together(0)
    assert together(1) == 1

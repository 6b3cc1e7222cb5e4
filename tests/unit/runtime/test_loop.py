"""Turns: one thread does several jobs, a part of each in turn. A job that waits already is not added twice."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from queue import SimpleQueue
from threading import Event

import pytest
from redis.exceptions import RedisError
from sqlalchemy import create_engine, text
from sqlalchemy.exc import OperationalError

from worker.runtime.loop import RoundRobin
from worker.wiring import is_store_away

PATIENCE_SECONDS = 10


class Done:
    """The parts that were done, in order. `do` returns whether a job has another part."""

    def __init__(self, do: Callable[[str], bool]) -> None:
        self.did: SimpleQueue[str] = SimpleQueue()
        self.stopping = Event()
        self._do = do
        self.jobs: RoundRobin[str] = RoundRobin(
            self._do_part, name="launch", stopping=self.stopping, is_away=is_store_away
        )

    def _do_part(self, what: str) -> bool:
        self.did.put(what)
        return self._do(what)

    def next(self, count: int) -> list[str]:
        return [self.did.get(timeout=PATIENCE_SECONDS) for _ in range(count)]


@contextmanager
def done(do: Callable[[str], bool]) -> Iterator[Done]:
    work = Done(do)
    yield work
    work.stopping.set()
    work.jobs.finish()


def test_of_two_things_with_many_parts_each_has_its_turn_until_it_is_done() -> None:
    begun, left = Event(), {"a": 2, "b": 1, "c": 0}

    def do(what: str) -> bool:
        begun.wait()
        left[what] -= 1
        return left[what] >= 0

    with done(do) as work:
        for what in "abc":
            work.jobs.begin(what)
        begun.set()
        assert work.next(6) == ["a", "b", "c", "a", "b", "a"]
    assert work.did.empty()


def test_what_waits_for_its_turn_is_not_done_twice_however_often_it_is_asked_for() -> None:
    begun = Event()
    with done(lambda _: not begun.wait()) as work:
        work.jobs.begin("a")
        assert work.next(1) == ["a"]
        for what in ("b", "b", "c", "b"):
            work.jobs.begin(what)
        begun.set()
        assert work.next(2) == ["b", "c"]
    assert work.did.empty()


def test_where_a_store_is_away_the_others_wait_for_the_next_bell() -> None:
    away = {"a": RedisError("away"), "b": OperationalError("SELECT", {}, OSError("away"))}
    asked = Event()

    def do(what: str) -> bool:
        asked.wait()
        if what in away:
            raise away.pop(what)
        return False

    with done(do) as work:
        for what in "abc":
            work.jobs.begin(what)
        asked.set()
        assert work.next(1) == ["a"]
        work.jobs.begin("a")
        assert work.next(1) == ["b"]
        work.jobs.begin("a")
        assert work.next(2) == ["c", "a"]


def test_told_to_end_it_finishes_the_part_that_is_under_way_and_begins_no_other() -> None:
    work = Done(lambda _: work.stopping.wait())
    work.jobs.begin("a")
    assert work.next(1) == ["a"]
    work.jobs.begin("b")
    work.stopping.set()
    work.jobs.finish()
    assert work.did.empty()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_statement_that_is_wrong_is_no_store_that_is_away(caplog: pytest.LogCaptureFixture) -> None:
    def ask_wrongly(_: str) -> bool:
        with create_engine("sqlite://").connect() as connection:
            connection.execute(text("SELECT * FROM nothing"))
        return False

    with done(ask_wrongly) as work:
        work.jobs.begin("a")
        assert work.next(1) == ["a"]
    assert "waits for" not in caplog.text

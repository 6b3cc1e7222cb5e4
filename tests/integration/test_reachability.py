"""A process that gets no connection to the gateway stops itself, says so, looks for itself, and goes on."""

import logging
import queue
import threading
from collections.abc import Iterator
from datetime import timedelta

import pytest
from ledger_of import NOW
from redis import Redis
from sim_harness import eventually

from worker.domain.outcome import Outcome, Verdict
from worker.reachability import NOT_SENT_IN_A_ROW, SEEN_FOR, Reachability, Sick, name, sick_workers, tell

NO_WAY = Outcome(Verdict.NOT_SENT, tips="no connection: ConnectionRefusedError")
ANSWERS = sorted(set(Verdict) - {Verdict.NOT_SENT})


class Process:
    """What a process has: a way to the gateway that is open or not, and a pause that lasts until it is told."""

    def __init__(self) -> None:
        self.why: str | Exception | None = "no connection: ConnectionRefusedError"
        self.told: list[Sick | None] = []
        self.looked = 0
        self.mute = False
        self._over: queue.Queue[bool] = queue.Queue()
        self.reach = Reachability(
            connect=self._connect,
            tell=self._tell,
            pause=lambda _: self._over.get(timeout=10),
            clock=lambda: NOW,
        )

    def _tell(self, sick: Sick | None) -> None:
        if self.mute:
            raise OSError("no more files")
        self.told.append(sick)

    def _connect(self) -> str | None:
        self.looked += 1
        if isinstance(self.why, Exception):
            raise self.why
        return self.why

    def let_a_pause_end(self, *, ending: bool = False) -> None:
        self._over.put(ending)


@pytest.fixture
def process() -> Iterator[Process]:
    process = Process()
    yield process
    process.let_a_pause_end(ending=True)


def fails(process: Process, times: int = NOT_SENT_IN_A_ROW) -> None:
    for _ in range(times):
        process.reach.note(NO_WAY)


def test_after_ten_calls_in_a_row_without_a_connection_a_process_takes_nothing(process: Process) -> None:
    fails(process, NOT_SENT_IN_A_ROW - 1)
    assert process.reach.may_call()
    fails(process, 1)
    assert not process.reach.may_call()


@pytest.mark.parametrize("verdict", ANSWERS)
def test_any_other_outcome_shows_that_it_reaches_the_gateway(process: Process, verdict: Verdict) -> None:
    for _ in range(3):
        fails(process, NOT_SENT_IN_A_ROW - 1)
        process.reach.note(Outcome(verdict))
    assert process.reach.may_call()


def test_it_says_so_once_and_once_that_it_is_well_again(process: Process, caplog: pytest.LogCaptureFixture) -> None:
    fails(process, 3 * NOT_SENT_IN_A_ROW)
    for looks in (1, 2, 3):
        process.let_a_pause_end()
        eventually(lambda looks=looks: process.looked == looks)  # type: ignore[misc]
        assert not process.reach.may_call()
    process.why = None
    process.let_a_pause_end()
    eventually(process.reach.may_call)
    eventually(lambda: process.told[-1] is None)
    eventually(lambda: len(caplog.records) == 2)
    assert [record.levelno for record in caplog.records] == [logging.ERROR, logging.WARNING]
    assert "SMS_GATEWAY_URL" in caplog.messages[0]
    assert [sick.reason for sick in process.told if sick] == [NO_WAY.tips] * 4
    assert process.looked == 4


def test_whatever_goes_wrong_when_it_looks_is_told_and_it_looks_again(process: Process) -> None:
    fails(process)
    process.why = OSError("no more files")
    for looks in (1, 2):
        process.let_a_pause_end()
        eventually(lambda looks=looks: process.looked == looks)  # type: ignore[misc]
    eventually(lambda: len(process.told) == 3)
    assert [sick.reason for sick in process.told if sick][1:] == [
        "it cannot look for a connection: OSError: no more files"
    ] * 2
    process.why = None
    process.let_a_pause_end()
    eventually(process.reach.may_call)


def test_a_process_that_can_tell_nobody_looks_all_the_same_and_goes_on(process: Process) -> None:
    process.mute = True
    fails(process)
    process.why = None
    process.let_a_pause_end()
    eventually(process.reach.may_call)


def test_it_stops_again_when_it_is_sick_again(process: Process) -> None:
    fails(process)
    process.why = None
    process.let_a_pause_end()
    eventually(process.reach.may_call)
    fails(process, NOT_SENT_IN_A_ROW - 1)
    assert process.reach.may_call()
    fails(process, 1)
    assert not process.reach.may_call()


def test_a_process_that_ends_is_sick_no_more_and_looks_no_more(process: Process) -> None:
    fails(process)
    process.let_a_pause_end(ending=True)
    eventually(lambda: process.told[-1:] == [None])
    assert process.looked == 0


def test_of_many_threads_that_find_it_out_at_once_one_looks(process: Process) -> None:
    threads = [threading.Thread(target=fails, args=(process,)) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    eventually(lambda: process.told)
    assert len(process.told) == 1


def test_who_is_sick_is_known_to_all_until_it_is_well_or_says_nothing_more(redis: Redis) -> None:
    sick = Sick(name(), "no connection", NOW - timedelta(hours=1), NOW)
    other = Sick("b/2", "no name", NOW, NOW)
    tell(redis, sick)
    tell(redis, other)
    assert set(map(str, sick_workers(redis, now=NOW))) == set(map(str, [sick, other]))
    assert sick_workers(redis, now=NOW + SEEN_FOR) == []
    assert 0 < redis.ttl("sms:sick") <= SEEN_FOR.total_seconds()
    tell(redis, None)
    assert sick_workers(redis, now=NOW) == [other]


def test_who_cannot_tell_is_sick_all_the_same() -> None:
    tell(Redis.from_url("redis://127.0.0.1:1/0"), Sick(name(), "no connection", NOW, NOW))

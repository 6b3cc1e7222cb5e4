"""A process without a connection to the gateway stops itself and reports it. It tries to connect, and goes on once it
can.
"""

import logging
import queue
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
from redis import Redis
from simulator_driver import eventually

from worker.domain.outcome import Outcome, Verdict
from worker.redis_store.sick_workers import SEEN_FOR, Sick, report_health, sick_workers
from worker.runtime.process import process_name
from worker.sending.reachability import ALL, IN_A_ROW, LEFT_TO_OTHERS, Reachability

NOW = datetime(2026, 11, 22, 4, 0, tzinfo=UTC)
NO_WAY = Outcome(Verdict.NOT_SENT, tips="no connection: ConnectionRefusedError")
ANSWERS = sorted(set(Verdict) - {Verdict.NOT_SENT})


class Process:
    """A process: it reaches the gateway or does not, and its pause lasts until the test ends it."""

    def __init__(self) -> None:
        self.why: str | Exception | None = "no connection: ConnectionRefusedError"
        self.reports: list[Sick | None] = []
        self.looked = 0
        self.now = self.chance = 0.0
        self.mute = False
        self._over: queue.Queue[bool] = queue.Queue()
        self.reach = Reachability(
            connect=self._connect,
            tell=self._tell,
            pause=lambda _: self._over.get(timeout=10),
            monotonic=lambda: self.now,
            random=lambda: self.chance,
        )

    def _tell(self, sick: Sick | None) -> None:
        if self.mute:
            raise OSError("no more files")
        self.reports.append(sick)

    def _connect(self) -> str | None:
        self.looked += 1
        if isinstance(self.why, Exception):
            raise self.why
        return self.why

    def wait_for_look(self, number: int) -> None:
        eventually(lambda: self.looked == number)

    def is_well(self) -> bool:
        return self.reach.take_call_allowance() == ALL

    def let_a_pause_end(self, *, ending: bool = False) -> None:
        self._over.put(ending)


@pytest.fixture
def process() -> Iterator[Process]:
    process = Process()
    yield process
    process.let_a_pause_end(ending=True)


def fails(process: Process, times: int = IN_A_ROW) -> None:
    for _ in range(times):
        process.reach.note(NO_WAY, NOW)


def test_after_ten_calls_in_a_row_without_a_connection_a_process_takes_nothing(process: Process) -> None:
    fails(process, IN_A_ROW - 1)
    assert process.is_well()
    fails(process, 1)
    assert not process.is_well()


@pytest.mark.parametrize("verdict", ANSWERS)
def test_any_other_outcome_shows_that_it_reaches_the_gateway(process: Process, verdict: Verdict) -> None:
    for _ in range(3):
        fails(process, IN_A_ROW - 1)
        process.reach.note(Outcome(verdict, "-7"), NOW)
    assert process.is_well()


def test_it_says_so_once_and_once_that_it_is_well_again(process: Process, caplog: pytest.LogCaptureFixture) -> None:
    fails(process, 3 * IN_A_ROW)
    for looks in (1, 2, 3):
        process.let_a_pause_end()
        process.wait_for_look(looks)
        assert not process.is_well()
    process.why = None
    process.let_a_pause_end()
    eventually(process.is_well)
    eventually(lambda: process.reports[-1] is None)
    eventually(lambda: len(caplog.records) == 2)
    assert [record.levelno for record in caplog.records] == [logging.ERROR, logging.WARNING]
    assert "SMS_GATEWAY_URL" in caplog.messages[0]
    assert [sick.reason for sick in process.reports if sick] == [NO_WAY.tips] * 4
    assert process.looked == 4


def test_whatever_goes_wrong_when_it_looks_is_told_and_it_looks_again(process: Process) -> None:
    fails(process)
    process.why = OSError("no more files")
    for looks in (1, 2):
        process.let_a_pause_end()
        process.wait_for_look(looks)
    eventually(lambda: len(process.reports) == 3)
    assert [sick.reason for sick in process.reports if sick][1:] == [
        "it cannot look for a connection: OSError: no more files"
    ] * 2
    process.why = None
    process.let_a_pause_end()
    eventually(process.is_well)


def test_a_process_that_can_tell_nobody_looks_all_the_same_and_goes_on(process: Process) -> None:
    process.mute = True
    fails(process)
    process.why = None
    process.let_a_pause_end()
    eventually(process.is_well)


def test_it_stops_again_when_it_is_sick_again(process: Process) -> None:
    fails(process)
    process.why = None
    process.let_a_pause_end()
    eventually(process.is_well)
    fails(process, IN_A_ROW - 1)
    assert process.is_well()
    fails(process, 1)
    assert not process.is_well()


BAD_GATEWAY = Outcome(Verdict.UNKNOWN, tips="HTTP 502: bad gateway")


@pytest.mark.parametrize("outcome", [BAD_GATEWAY, Outcome(Verdict.REJECTED, tips="HTTP 404: not found")])
def test_a_process_that_alone_is_not_answered_stops_and_tries_with_one_call_at_a_time(
    process: Process, outcome: Outcome
) -> None:
    for _ in range(IN_A_ROW):
        assert process.reach.doubted_since is None
        assert process.reach.take_call_allowance() == ALL
        process.reach.note(outcome, NOW)
    assert process.reach.doubted_since == NOW
    process.reach.stop_as_others_are_answered(outcome)
    assert process.reach.take_call_allowance() == 0
    process.let_a_pause_end()
    eventually(lambda: process.reach.take_call_allowance() == 1)
    assert process.reach.take_call_allowance() == 0
    process.reach.note(outcome, NOW)
    assert process.reach.take_call_allowance() == 0
    process.reach.note(Outcome(Verdict.ACCEPTED, "1"), NOW)
    assert process.reach.take_call_allowance() == ALL
    process.let_a_pause_end()
    eventually(lambda: process.reports[-1] is None)
    assert process.looked == 0


def test_a_process_whose_calls_nobody_answers_goes_on_for_that_is_the_gates_affair(process: Process) -> None:
    for _ in range(3 * IN_A_ROW):
        process.reach.note(BAD_GATEWAY, NOW)
    assert process.reach.take_call_allowance() == 1
    assert process.reports == []


def test_a_process_whose_calls_were_not_answered_makes_one_a_second_until_one_is(process: Process) -> None:
    for _ in range(IN_A_ROW):
        assert process.reach.take_call_allowance() == ALL
        process.reach.note(BAD_GATEWAY, NOW)
    assert [process.reach.take_call_allowance() for _ in range(3)] == [1, 0, 0]
    process.now += 1
    assert [process.reach.take_call_allowance() for _ in range(3)] == [1, 0, 0]
    process.reach.note(Outcome(Verdict.ACCEPTED, "1"), NOW)
    assert process.reach.take_call_allowance() == ALL


def test_a_process_whose_calls_were_not_answered_leaves_most_probes_to_others_and_not_all(process: Process) -> None:
    assert process.reach.may_probe()
    for _ in range(IN_A_ROW):
        process.reach.note(BAD_GATEWAY, NOW)
    assert not process.reach.may_probe()
    process.chance = LEFT_TO_OTHERS
    assert process.reach.may_probe()


def test_a_process_that_stopped_may_probe_with_its_one_call_for_the_gate_may_be_closed_and_no_other_there(
    process: Process,
) -> None:
    for _ in range(IN_A_ROW):
        process.reach.note(BAD_GATEWAY, NOW)
    process.reach.stop_as_others_are_answered(BAD_GATEWAY)
    process.chance = 1.0
    assert not process.reach.may_probe()
    process.let_a_pause_end()
    eventually(process.reach.may_probe)
    assert not process.reach.may_probe()
    process.reach.note(Outcome(Verdict.ACCEPTED, "1"), NOW)
    assert process.is_well()


def test_an_answer_in_between_shows_that_the_way_is_free(process: Process) -> None:
    for _ in range(3):
        for _ in range(IN_A_ROW - 1):
            process.reach.note(BAD_GATEWAY, NOW)
        process.reach.note(Outcome(Verdict.ACCEPTED, "1"), NOW)
    assert process.reach.doubted_since is None


def test_a_process_that_ends_is_sick_no_more_and_looks_no_more(process: Process) -> None:
    fails(process)
    process.let_a_pause_end(ending=True)
    eventually(lambda: process.reports[-1:] == [None])
    assert process.looked == 0


def test_of_many_threads_that_find_it_out_at_once_one_looks(process: Process) -> None:
    threads = [threading.Thread(target=fails, args=(process,)) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    eventually(lambda: process.reports)
    assert len(process.reports) == 1


def test_who_is_sick_is_known_to_all_with_how_long_until_it_is_well(redis: Redis) -> None:
    sick, other = Sick(process_name(), "no connection", timedelta(hours=1)), Sick("b/2", "no name", timedelta(0))
    report_health(redis, sick)
    report_health(redis, other)
    by_worker = {entry.worker: entry for entry in sick_workers(redis)}
    assert {worker: entry.reason for worker, entry in by_worker.items()} == {
        process_name(): "no connection",
        "b/2": "no name",
    }
    assert timedelta(hours=1) <= by_worker[process_name()].lasts < timedelta(hours=1, seconds=30)
    assert 0 < redis.ttl("sms:sick") <= SEEN_FOR.total_seconds()
    report_health(redis, None)
    assert [entry.worker for entry in sick_workers(redis)] == ["b/2"]


def test_who_says_nothing_more_is_forgotten_and_the_next_who_tells_removes_it(redis: Redis) -> None:
    seconds = redis.time()[0]
    redis.hset("sms:sick", "gone/1", f"{seconds - SEEN_FOR.total_seconds()} 5 no name")
    redis.hset("sms:sick", "here/2", f"{seconds - SEEN_FOR.total_seconds() / 2} 5 no name")
    [sick] = sick_workers(redis)
    assert sick.worker == "here/2"
    assert timedelta(seconds=35) <= sick.lasts < timedelta(seconds=5) + SEEN_FOR
    assert redis.hlen("sms:sick") == 2
    report_health(redis, Sick("b/2", "no name \udcff", timedelta(0)))
    assert set(redis.hkeys("sms:sick")) == {b"here/2", b"b/2"}


def test_who_cannot_tell_is_sick_all_the_same() -> None:
    report_health(Redis.from_url("redis://127.0.0.1:1/0"), Sick(process_name(), "no connection", timedelta(0)))

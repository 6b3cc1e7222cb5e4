"""The guard of a process' clock, with a real Redis and ledger to compare it with."""

from datetime import UTC, datetime, timedelta

import pytest
from redis import Redis
from sqlalchemy import Engine

from worker.ledger.engine import open_engine
from worker.maintenance.clock_guard import (
    CHECK_SECONDS,
    CHECK_SECONDS_WRONG,
    ClockGuard,
    WrongClock,
    skews,
    wrong_clocks,
)
from worker.redis_store.connect import open_redis

NOWHERE = "redis://127.0.0.1:1/0"


class Machine:
    """A machine's clock, and its monotonic count. `off` is how wrong the clock is set."""

    off = timedelta(0)
    passed = 0.0

    def clock(self) -> datetime:
        return datetime.now(UTC) + self.off + timedelta(seconds=self.passed)

    def monotonic(self) -> float:
        return (datetime.now(UTC) - datetime(2026, 1, 1, tzinfo=UTC)).total_seconds() + self.passed


@pytest.fixture
def machine() -> Machine:
    return Machine()


@pytest.fixture
def guard(redis: Redis, engine: Engine, machine: Machine) -> ClockGuard:
    return ClockGuard(redis, engine, "here/1", clock=machine.clock, monotonic=machine.monotonic)


@pytest.mark.parametrize("hours", [1, -1])
def test_a_process_whose_clock_is_wrong_takes_nothing_until_it_is_put_right_and_says_each_once(
    guard: ClockGuard, machine: Machine, redis: Redis, hours: int, caplog: pytest.LogCaptureFixture
) -> None:
    machine.off = timedelta(hours=hours)
    assert [guard.may_work() for _ in range(3)] == [False] * 3
    assert wrong_clocks(redis) == {"here/1": f"3600 s {'ahead' if hours > 0 else 'behind'}"}
    machine.off = timedelta(0)
    assert [guard.may_work() for _ in range(3)] == [True] * 3
    assert wrong_clocks(redis) == {}
    assert len(caplog.records) == 2


def test_of_processes_that_start_again_and_again_only_those_of_two_minutes_are_kept(
    redis: Redis, engine: Engine, machine: Machine
) -> None:
    machine.off = timedelta(hours=1)
    redis.hset("sms:wrong_clocks", "here/0", f"{redis.time()[0] - 121} 3600 s ahead")
    for number in (1, 2):
        guard = ClockGuard(redis, engine, f"here/{number}", clock=machine.clock, monotonic=machine.monotonic)
        assert not guard.may_work()
    assert set(redis.hkeys("sms:wrong_clocks")) == {b"here/1", b"here/2"}
    assert 0 < redis.ttl("sms:wrong_clocks") <= 120


def test_a_clock_that_goes_wrong_is_noticed_within_a_minute_and_one_that_is_set_at_once(
    guard: ClockGuard, machine: Machine
) -> None:
    assert guard.may_work()
    machine.off = timedelta(hours=1)
    assert not guard.may_work()
    machine.off = timedelta(0)
    assert guard.may_work()


@pytest.mark.parametrize("seconds", [25, -25])
def test_a_clock_that_is_a_little_off_is_put_right_so_that_the_times_of_all_processes_compare(
    guard: ClockGuard, machine: Machine, seconds: int
) -> None:
    machine.off = timedelta(seconds=seconds)
    assert abs(guard.now() - datetime.now(UTC)) < timedelta(seconds=1)
    assert abs(guard.time() - datetime.now(UTC)) < timedelta(seconds=1)


def test_nobody_gets_a_time_from_a_clock_that_was_just_set_wrong(guard: ClockGuard, machine: Machine) -> None:
    guard.now()
    machine.off = timedelta(hours=1)
    with pytest.raises(WrongClock):
        guard.now()


def test_the_others_are_asked_once_a_minute_and_while_the_clock_is_wrong_more_often(
    redis: Redis, machine: Machine, sqlite_url: str
) -> None:
    engine = open_engine(sqlite_url)
    guard = ClockGuard(redis, engine, "here/1", clock=machine.clock, monotonic=machine.monotonic)

    def looks() -> int:
        return int(redis.info("commandstats").get("cmdstat_time", {"calls": 0})["calls"])

    before = looks()
    for _ in range(3):
        guard.may_work()
    assert looks() - before == 1
    # Both clocks go on as time passes; Redis' does not, so to ours it falls behind.
    machine.passed += CHECK_SECONDS
    assert not guard.may_work()
    machine.off = timedelta(seconds=-machine.passed)
    assert guard.may_work()
    machine.passed += CHECK_SECONDS_WRONG
    before = looks()
    guard.may_work()
    assert looks() == before
    engine.dispose()


def test_where_nobody_can_be_asked_a_clock_is_as_right_or_wrong_as_it_was(machine: Machine) -> None:
    redis, engine = open_redis(NOWHERE, patience_seconds=1), open_engine("postgresql://nobody@127.0.0.1:1/none")
    guard = ClockGuard(redis, engine, "here/1", clock=machine.clock, monotonic=machine.monotonic)
    machine.off = timedelta(hours=1)
    assert guard.may_work()
    redis.close()
    engine.dispose()


def test_only_postgresql_has_a_clock_of_its_own(redis: Redis, engine: Engine, machine: Machine) -> None:
    names = {"sqlite": {"Redis"}, "postgresql": {"Redis", "the ledger"}}[engine.dialect.name]
    offsets = skews(redis, engine, machine.clock)
    assert offsets.keys() == names
    assert all(abs(offset) < timedelta(seconds=1) for offset in offsets.values())

"""The rate of an account, on a real Valkey: what is granted, when to ask again, and what is left for more urgent lanes."""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from fractions import Fraction
from itertools import accumulate
from random import Random
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from redis import Redis
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import NoScriptError

from worker.domain.rate import Rate
from worker.redis_store.connect import open_redis
from worker.redis_store.rate import Grant, take

START = 1_790_000_000.0

# `redis` as the script sees it, with a clock whose time comes as the last argument: TIME tells it, and by it keys expire.
STAND_IN = """\
local real, clock = redis, tonumber(table.remove(ARGV))
local redis = {call = function(command, key, ...)
    if command == 'TIME' then
        if tonumber(real.call('HGET', KEYS[1], 'until') or clock + 1) <= clock then real.call('DEL', KEYS[1]) end
        return {string.format('%d', clock / 1000000), string.format('%d', clock % 1000000)}
    end
    if command == 'PEXPIRE' then return real.call('HSET', key, 'until', clock + ... * 1000) end
    return real.call(command, key, ...)
end}
"""


class RedisAtATime(Redis):
    """A client whose scripts see the time `now`, in microseconds."""

    now = round(START * 1_000_000)

    def evalsha(self, *_: Any) -> Any:
        raise NoScriptError

    def eval(self, script: str, keys: int, *arguments: Any) -> Any:
        flags, _, rest = script.partition("\n")
        return super().eval(f"{flags}\n{STAND_IN}{rest}", keys, *arguments, str(self.now))

    def sleep(self, seconds: float) -> None:
        self.now += round(seconds * 1_000_000)


@pytest.fixture
def clocked(redis_url: str) -> Iterator[RedisAtATime]:
    with RedisAtATime.from_url(redis_url) as client:
        yield client


def capacity(rate: float) -> float:
    return max(2, rate / 5)


def ones(count: int) -> list[int]:
    return [1] * count


def granted(redis: Redis, rate: Rate, sizes: Sequence[int], *, floor: float = 0, account: str = "default") -> int:
    return take(redis, account, rate, floor, sizes).granted


# What is granted


def test_a_bucket_holds_a_fifth_of_a_second_and_the_first_calls_that_fit_are_granted(clocked: RedisAtATime) -> None:
    rate = Rate(calls=500, mobiles=None)
    assert granted(clocked, rate, ones(70)) == 70
    assert granted(clocked, rate, ones(70)) == 30
    clocked.sleep(0.02)
    assert granted(clocked, rate, ones(70)) == 10
    clocked.sleep(3600)
    assert granted(clocked, rate, ones(1000)) == 100


def test_a_bucket_holds_two_at_least(clocked: RedisAtATime) -> None:
    assert granted(clocked, Rate(calls=0.5, mobiles=None), ones(5)) == 2
    clocked.sleep(1.999)
    assert granted(clocked, Rate(calls=0.5, mobiles=None), ones(5)) == 0
    clocked.sleep(0.001)
    assert granted(clocked, Rate(calls=0.5, mobiles=None), ones(5)) == 1


def test_mobiles_are_limited_where_calls_are_not(clocked: RedisAtATime) -> None:
    assert granted(clocked, Rate(calls=None, mobiles=100), [7, 7, 7, 1]) == 2
    assert granted(clocked, Rate(calls=None, mobiles=100), [7]) == 0
    assert granted(clocked, Rate(calls=None, mobiles=100), [6]) == 1


def test_of_two_limits_the_one_that_is_reached_first_holds_and_the_other_loses_no_more_than_was_granted(
    clocked: RedisAtATime,
) -> None:
    rate = Rate(calls=50, mobiles=100)  # ten calls, twenty mobiles
    assert granted(clocked, rate, [5, 5, 5, 5, 5]) == 4
    clocked.sleep(0.06)  # nine calls, six mobiles
    assert granted(clocked, rate, ones(20)) == 6
    clocked.sleep(0.001)
    assert granted(clocked, Rate(calls=50, mobiles=None), ones(20)) == 3


def test_who_is_not_granted_takes_nothing(clocked: RedisAtATime) -> None:
    rate = Rate(calls=None, mobiles=100)
    granted(clocked, rate, [15])
    for _ in range(10):
        assert granted(clocked, rate, [6]) == 0
    assert granted(clocked, rate, [5]) == 1


def test_a_call_to_more_mobiles_than_the_bucket_holds_goes_when_it_is_full_and_is_paid_for_afterwards(
    clocked: RedisAtATime,
) -> None:
    rate = Rate(calls=None, mobiles=100)
    granted(clocked, rate, [1])
    assert take(clocked, "default", rate, 0, [50]) == Grant(0, pytest.approx(0.01, abs=2e-6))
    clocked.sleep(0.01)
    assert granted(clocked, rate, [50]) == 1  # 20 were there, 30 are owed
    assert take(clocked, "default", rate, 0, [1]) == Grant(0, pytest.approx(0.31, abs=2e-6))
    clocked.sleep(0.309)
    assert granted(clocked, rate, [1]) == 0
    clocked.sleep(0.001)
    assert granted(clocked, rate, [1]) == 1


@pytest.mark.parametrize("mobiles", [1, 20, 100, 240])
@pytest.mark.parametrize("floor", [0.25, 0.5])
def test_a_more_urgent_lane_never_waits_for_the_debt_of_a_less_urgent_one(
    clocked: RedisAtATime, mobiles: float, floor: float
) -> None:
    rate = Rate(calls=None, mobiles=mobiles)
    assert granted(clocked, rate, [50], floor=floor) == 1
    codes, waited = 0, 0.0
    for _ in range(40):  # codes at half of the rate, while the debt is paid by the other half
        answer = take(clocked, "default", rate, 0, [1])
        waited = max(waited, answer.wait)
        codes += answer.granted
        granted(clocked, rate, [1], floor=floor)
        clocked.sleep(answer.wait or 2 / mobiles)
    assert codes >= 20
    assert waited <= 1.001 / mobiles


def test_the_lane_that_owes_a_debt_and_a_less_urgent_one_wait_until_it_is_paid(
    clocked: RedisAtATime,
) -> None:
    rate = Rate(calls=None, mobiles=100)
    assert granted(clocked, rate, [50, 1], floor=0.25) == 1  # 15 of 20 were above the floor, 35 are owed
    assert take(clocked, "default", rate, 0.25, [1]) == Grant(0, pytest.approx(0.36, abs=2e-6))
    assert take(clocked, "default", rate, 0.5, [1]) == Grant(0, pytest.approx(0.41, abs=2e-6))
    clocked.sleep(0.2)
    assert granted(clocked, rate, ones(8)) == 8
    clocked.sleep(0.239)
    assert granted(clocked, rate, [1], floor=0.25) == 0
    clocked.sleep(0.001)
    assert granted(clocked, rate, [1], floor=0.25) == 1


@given(
    st.sampled_from([None, 0.5, 1, 3, 20, 300]),
    st.sampled_from([0.3, 1, 2.5, 7, 20, 100, 499, 3000]),
    st.sampled_from([0, 0.1, 0.25, 0.5, 0.9]),
)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_the_largest_call_of_a_lane_is_granted_from_a_full_bucket_and_leaves_no_debt(
    clocked: RedisAtATime, calls: float | None, mobiles: float, floor: float
) -> None:
    clocked.flushall()
    rate = Rate(calls, mobiles)
    largest = rate.largest_call(50, floor)
    assert 1 <= largest <= min(50, capacity(mobiles))
    assert granted(clocked, rate, [largest], floor=floor) == 1
    assert clocked.hget("sms:rate:{default}", "debt") is None
    assert take(clocked, "default", rate, 0, [1]).wait <= 1.001 * (1 / mobiles + (1 / calls if calls else 0))


@pytest.mark.parametrize(
    ("rate", "floor", "largest"),
    [
        (Rate(), 0.5, 50),
        (Rate(calls=1), 0.5, 50),
        (Rate(mobiles=500), 0.5, 50),
        (Rate(mobiles=100), 0.5, 10),
        (Rate(mobiles=20), 0.25, 3),
        (Rate(mobiles=1), 0.5, 1),
        (Rate(calls=5, mobiles=20), 0.5, 4),  # of two mobiles each, five calls would be half of the rate
        (Rate(calls=1, mobiles=100), 0.5, 20),
    ],
)
def test_a_call_is_as_large_as_its_lane_has_room_for(rate: Rate, floor: float, largest: int) -> None:
    assert rate.largest_call(50, floor) == largest


def test_each_account_has_its_own(redis: Redis) -> None:
    rate = Rate(calls=0.01, mobiles=None)
    assert [granted(redis, rate, ones(3), account=name) for name in ("one", "two", "one")] == [2, 2, 0]


def test_an_account_without_a_limit_needs_no_redis() -> None:
    nowhere = open_redis("redis://127.0.0.1:1", patience_seconds=1)
    assert take(nowhere, "default", Rate(calls=None, mobiles=None), 0.5, [50] * 1000) == Grant(1000, 0)
    with pytest.raises(RedisConnectionError):
        take(nowhere, "default", Rate(calls=1, mobiles=None), 0, [1])


@pytest.mark.parametrize("wrong", [0, -1, float("inf"), float("nan")])
def test_what_is_no_rate_is_refused(wrong: float) -> None:
    with pytest.raises(ValueError, match="more than 0 a second"):
        Rate(calls=wrong, mobiles=None)
    with pytest.raises(ValueError, match="more than 0 a second"):
        Rate(calls=None, mobiles=wrong)


def test_what_comes_in_less_than_a_fiftieth_of_a_second_is_granted_only_to_who_wants_no_more(
    clocked: RedisAtATime,
) -> None:
    rate = Rate(calls=500, mobiles=None)
    granted(clocked, rate, ones(100))
    clocked.sleep(0.018)
    assert take(clocked, "default", rate, 0, ones(10)) == Grant(0, pytest.approx(0.002, abs=2e-6))
    assert granted(clocked, rate, ones(9)) == 9
    clocked.sleep(0.02)
    assert granted(clocked, rate, ones(70)) == 10


# Floors


def test_marketing_leaves_its_floor_to_notice_and_notice_its_own_to_otp(clocked: RedisAtATime) -> None:
    rate = Rate(calls=500, mobiles=None)
    taken = [granted(clocked, rate, ones(1000), floor=floor) for floor in (0.5, 0.5, 0.2, 0.5, 0.2, 0, 0)]
    assert taken == [50, 0, 30, 0, 0, 20, 0]
    clocked.sleep(0.06)
    taken = [granted(clocked, rate, ones(1000), floor=floor) for floor in (0.5, 0.2, 0)]
    assert taken == [0, 10, 20]


def test_a_floor_holds_for_mobiles_too_and_a_call_that_is_too_large_waits_for_the_full_bucket(
    clocked: RedisAtATime,
) -> None:
    rate = Rate(calls=None, mobiles=100)  # twenty, and ten of them above the floor
    assert granted(clocked, rate, [10, 1], floor=0.5) == 1
    clocked.sleep(0.099)
    assert granted(clocked, rate, [11], floor=0.5) == 0
    clocked.sleep(0.001)
    assert granted(clocked, rate, [11], floor=0.5) == 1
    assert granted(clocked, rate, [9], floor=0) == 1


@pytest.mark.parametrize("floor", [0, 0.1, 1 / 3, 0.7, 0.99])
@pytest.mark.parametrize("calls", [0.3, 1, 9.99, 77.7])
def test_no_floor_shuts_a_lane_out_for_good(clocked: RedisAtATime, calls: float, floor: float) -> None:
    rate = Rate(calls=calls, mobiles=calls)
    for _ in range(20):
        answer = take(clocked, "default", rate, floor, [7])
        clocked.sleep(answer.wait)
        if not answer.granted:
            assert granted(clocked, rate, [7], floor=floor) == 1


# When to ask again

Lone = tuple[float, float | None, float, int]


@pytest.mark.parametrize(
    ("calls", "mobiles", "floor", "size"),
    [
        (500, None, 0, 1),
        (500, None, 0.5, 1),
        (3000, None, 0.25, 1),
        (50, None, 0.5, 1),
        (20, None, 0.5, 1),
        (5, None, 0.25, 1),
        (1.5, None, 0, 1),
        (None, 2000, 0.5, 50),
        (None, 500, 0.25, 30),
        (500, 2000, 0.25, 7),
    ],
)
def test_one_who_sleeps_as_long_as_told_or_a_little_longer_gets_the_full_rate_and_seldom_asks(
    clocked: RedisAtATime, calls: float | None, mobiles: float | None, floor: float, size: int
) -> None:
    rate, random = Rate(calls, mobiles), Random(1)
    a_second = min(calls or 1e9, (mobiles or 1e9) / size)
    seconds = max(60, 200 / a_second)
    start, done, asked = clocked.now, 0, 0
    while clocked.now < start + seconds * 1_000_000:
        answer = take(clocked, "default", rate, floor, [size] * 500)
        done, asked = done + answer.granted, asked + 1
        clocked.sleep(answer.wait + random.uniform(0, 0.049))
    passed = (clocked.now - start) / 1_000_000
    assert 0.999 * a_second * passed - 1 <= done <= a_second * passed + capacity(a_second)
    assert asked <= max(12.5, a_second) * passed + 2


def test_the_wait_is_for_half_of_what_the_bucket_holds_above_the_floor_or_for_what_is_left_to_do(
    clocked: RedisAtATime,
) -> None:
    rate = Rate(calls=500, mobiles=None)
    waits = [take(clocked, "default", rate, 0, ones(count)).wait for count in (1000, 1000, 20, 1)]
    assert waits == pytest.approx([0.1, 0.1, 0.04, 0.002], abs=2e-6)
    assert take(clocked, "default", rate, 0.5, ones(1000)).wait == pytest.approx(0.15, abs=2e-6)
    clocked.sleep(0.002)
    assert take(clocked, "default", rate, 0, ones(1)) == Grant(1, 0)


def test_the_wait_is_never_less_than_a_millisecond(clocked: RedisAtATime) -> None:
    rate = Rate(calls=100_000, mobiles=None)
    granted(clocked, rate, ones(20_000))
    assert take(clocked, "default", rate, 0, [1]) == Grant(0, 0.001)


# What is promised of any number who ask at any time


@dataclass
class Model:
    """The same rule in exact arithmetic, from the promise alone. Amounts are (calls, mobiles). Nothing expires."""

    at: int = 0
    tokens: tuple[Fraction, ...] | None = None
    debt: Fraction = Fraction(0)
    debtor: Fraction = Fraction(1)

    def take(self, now: int, rate: Rate, floor: Fraction, sizes: Sequence[int]) -> tuple[int, int]:
        """Returns how many calls are granted, and the least microseconds to wait."""
        rates = [Fraction(rate.calls or 10**9), Fraction(rate.mobiles or 10**9)]
        holds = [max(Fraction(2), rate / 5) for rate in rates]
        usable = [(1 - floor) * hold for hold in holds]
        passed = Fraction(max(0, now - self.at), 1_000_000)
        had = self.tokens or holds
        self.debt = max(Fraction(0), self.debt - max(Fraction(0), had[1] + passed * rates[1] - holds[1]))
        self.debtor = self.debtor if self.debt else Fraction(1)
        self.tokens = tuple(min(h, t + passed * r) for h, t, r in zip(holds, had, rates, strict=True))
        self.at = now

        def missing(tokens: Sequence[Fraction], amounts: Sequence[int]) -> Fraction:
            owed = (0, self.debt if floor >= self.debtor else 0)
            lacks = [
                (min(amount, use) + floor * hold + debt - there) / rate
                for amount, use, hold, debt, there, rate in zip(
                    amounts, usable, holds, owed, tokens, rates, strict=True
                )
            ]
            return max(lacks) * 1_000_000

        def batch(wanted: Sequence[int]) -> tuple[int, int]:
            sums = [(i, total) for i, total in enumerate(accumulate(wanted), start=1)]
            return max((s for s in sums if s[0] <= usable[0] / 2 and s[1] <= usable[1] / 2), default=sums[0])

        before, count, owed = self.tokens, 0, (self.debt, self.debtor)
        few_may_wait = missing(before, batch(sizes)) > 0 if sizes else False
        for size in sizes:
            if missing(self.tokens, (1, size)) > 0:
                break
            self.tokens = (self.tokens[0] - 1, self.tokens[1] - size)
            if size > holds[1]:
                self.debt += size - usable[1]
                self.debtor = min(floor, self.debtor)
                self.tokens = (self.tokens[0], floor * holds[1])
            count += 1
        if count == len(sizes):
            return count, 0
        taken = [there - left for there, left in zip(before, self.tokens, strict=True)]
        few = all(amount < rate / 50 for amount, rate in zip(taken, rates, strict=True))
        if few and few_may_wait:
            self.tokens, count = before, 0
            self.debt, self.debtor = owed
        return count, max(1000, int(missing(self.tokens, batch(sizes[count:]))) + 1)


# Numbers that have an exact double, so that the script is exact too.
RATES = st.builds(
    Rate,
    calls=st.none() | st.integers(1, 3000) | st.sampled_from([0.5, 2.25]),
    mobiles=st.none() | st.integers(1, 9000),
).filter(lambda rate: rate != Rate(None, None))
FLOORS = st.sampled_from([0.0, 0.125, 0.25, 0.5, 0.75])
ASKS = st.tuples(
    st.sampled_from([0, 1, 999, 1000, 40_000, 199_999, 10**6, -1, -10_000, -(10**10)]) | st.integers(0, 300_000),
    FLOORS,
    st.lists(st.sampled_from([1, 2, 7, 50]), max_size=30) | st.integers(0, 700).map(ones),
)
here = settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])


@here
@given(RATES, st.lists(ASKS, min_size=1, max_size=12))
def test_the_script_says_what_the_rule_says(
    clocked: RedisAtATime, rate: Rate, asks: list[tuple[int, float, list[int]]]
) -> None:
    clocked.flushall()
    model = Model()
    for pause, floor, sizes in asks:
        clocked.now += pause
        count, microseconds = model.take(clocked.now, rate, Fraction(floor), sizes)
        assert take(clocked, "default", rate, floor, sizes) == Grant(count, microseconds / 1_000_000)


@here
@example(rate=Rate(None, 246), asks=[(0, 0.125, [50]), (0, 0.0, ones(4))])
@given(rate=RATES, asks=st.lists(ASKS.filter(lambda ask: ask[0] >= 0), min_size=1, max_size=20))
def test_no_second_sees_more_than_the_rate_and_what_the_bucket_holds(
    clocked: RedisAtATime, rate: Rate, asks: list[tuple[int, float, list[int]]]
) -> None:
    clocked.flushall()
    taken: list[tuple[int, int, int]] = []
    oversize: list[tuple[int, float, float]] = []
    for pause, floor, sizes in asks:
        clocked.now += pause
        count = granted(clocked, rate, sizes, floor=floor)
        taken.append((clocked.now, count, sum(sizes[:count])))
        window = [grant for grant in taken if grant[0] > clocked.now - 1_000_000]
        passed = (clocked.now - window[0][0]) / 1_000_000
        if rate.calls:
            assert sum(calls for _, calls, _ in window) <= rate.calls * passed + capacity(rate.calls) + 1e-6
        if rate.mobiles:
            # A call that a full bucket cannot hold takes all that is above the floor of its lane, and leaves a debt for the rest.
            # The debt comes on top, once for each lane: until it is paid for, the lane makes no other.
            room = capacity(rate.mobiles) * (1 - floor)
            oversize += [(clocked.now, floor, size - room) for size in sizes[:count] if size > capacity(rate.mobiles)]
            debts = {its_floor: debt for at, its_floor, debt in oversize if at > clocked.now - 1_000_000}
            bound = rate.mobiles * passed + capacity(rate.mobiles) + sum(debts.values())
            assert sum(m for *_, m in window) <= bound + 1e-6


def test_the_mean_is_the_rate_to_a_thousandth_however_crooked_the_times(clocked: RedisAtATime) -> None:
    random, rate = Random(2), Rate(calls=499.9, mobiles=None)
    start, done = clocked.now, granted(clocked, rate, ones(100)) - 99
    while clocked.now < start + 100_000_000:
        clocked.now += random.randrange(1, 60_000)
        done += granted(clocked, rate, ones(40))
    assert done == pytest.approx(499.9 * (clocked.now - start) / 1_000_000, rel=0.0001)


def test_the_rate_holds_over_many_who_ask_as_fast_as_they_can(redis: Redis, redis_url: str) -> None:
    rate = Rate(calls=500, mobiles=1200)

    def now() -> float:
        seconds, microseconds = redis.time()
        return seconds + microseconds / 1_000_000

    def hammer(seed: int) -> tuple[int, int]:
        random, calls, mobiles = Random(seed), 0, 0
        with Redis.from_url(redis_url) as mine:
            while now() < start + 1.5:
                sizes = random.choices((1, 2, 3, 4, 5), k=random.randint(1, 10))
                count = granted(mine, rate, sizes)
                calls, mobiles = calls + count, mobiles + sum(sizes[:count])
        return calls, mobiles

    start = now()
    with ThreadPoolExecutor(8) as threads:
        counts = list(threads.map(hammer, range(8)))
    passed = now() - start
    calls, mobiles = (sum(count) for count in zip(*counts, strict=True))
    assert calls <= 500 * passed + 100
    assert 0.9 * 1200 * 1.5 <= mobiles <= 1200 * passed + 240


# Redis and its clock


def test_a_bucket_vanishes_when_it_is_full_again(redis: Redis) -> None:
    take(redis, "default", Rate(calls=0.1, mobiles=None), 0, [1])
    assert redis.keys() == [b"sms:rate:{default}"]
    assert 9_000 < redis.pttl("sms:rate:{default}") <= 10_001
    take(redis, "default", Rate(calls=0.1, mobiles=0.1), 0, [30])
    assert 290_000 < redis.pttl("sms:rate:{default}") <= 300_001


@pytest.mark.parametrize("forget", ["script_flush", "flushall"])
def test_a_redis_that_has_forgotten_the_script_is_given_it_again(redis: Redis, forget: str) -> None:
    rate = Rate(calls=0.01, mobiles=None)
    assert granted(redis, rate, ones(1)) == 1
    getattr(redis, forget)()
    assert granted(redis, rate, ones(9)) == (1 if forget == "script_flush" else 2)
    assert granted(redis, rate, ones(9)) == 0


def test_one_ask_is_one_round_trip(redis: Redis) -> None:
    rate = Rate(calls=1, mobiles=1)
    take(redis, "default", rate, 0, [1])
    before = redis.info("commandstats")
    take(redis, "default", rate, 0, ones(100))
    after = redis.info("commandstats")
    assert after["cmdstat_evalsha"]["calls"] - before["cmdstat_evalsha"]["calls"] == 1
    assert after.get("cmdstat_eval") == before.get("cmdstat_eval")


def test_a_clock_that_goes_back_refills_nothing_and_what_it_says_then_counts(clocked: RedisAtATime) -> None:
    rate = Rate(calls=500, mobiles=None)
    granted(clocked, rate, ones(100))
    clocked.sleep(-3600)
    assert take(clocked, "default", rate, 0, [1]) == Grant(0, pytest.approx(0.002, abs=2e-6))
    clocked.sleep(0.1)
    assert granted(clocked, rate, ones(100)) == 50


def test_another_rate_holds_at_once(clocked: RedisAtATime) -> None:
    fast, slow = Rate(calls=500, mobiles=None), Rate(calls=10, mobiles=None)
    assert granted(clocked, fast, ones(1)) == 1
    assert granted(clocked, slow, ones(100)) == 2
    assert take(clocked, "default", slow, 0, [1]).wait == pytest.approx(0.1, abs=2e-6)
    assert take(clocked, "default", fast, 0, [1]).wait == pytest.approx(0.002, abs=2e-6)
    clocked.sleep(0.1)
    assert granted(clocked, fast, ones(100)) == 50


def test_a_limit_that_is_new_finds_its_bucket_full(clocked: RedisAtATime) -> None:
    granted(clocked, Rate(calls=100, mobiles=None), ones(20))
    clocked.sleep(0.19)
    assert granted(clocked, Rate(calls=100, mobiles=100), ones(100)) == 19
    assert granted(clocked, Rate(calls=100, mobiles=100), ones(100)) == 0
    clocked.sleep(0.02)
    assert granted(clocked, Rate(calls=100, mobiles=100), ones(100)) == 2


def test_a_limit_that_is_lifted_holds_nothing_back(redis: Redis) -> None:
    assert granted(redis, Rate(calls=1000, mobiles=0.01), [1000, 1]) == 1
    assert granted(redis, Rate(calls=1000, mobiles=None), [1000, 1]) == 2

"""The caps of a lane, on a real Valkey: how much room there is, and what is counted."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from random import Random

import pytest
from ledger_driver import NOW, mobile
from limits import RateLimitItemPerSecond
from limits.storage import RedisStorage
from limits.strategies import MovingWindowRateLimiter
from redis import Redis
from redis.exceptions import ConnectionError as RedisConnectionError

from worker.domain.caps import Cap, CapKey
from worker.domain.lane import LANES
from worker.redis_store.caps import AT_ONCE, count, room
from worker.redis_store.connect import open_redis

OTP = LANES["otp"]
ONE = CapKey("default", "otp", mobile(1))
LADDER = Cap(1, 60), Cap(5, 3600), Cap(10, 86_400)


def left(redis: Redis, caps: Sequence[Cap], *, capped: CapKey = ONE, now: datetime = NOW) -> int:
    return room(redis, {capped.lane: replace(OTP, caps=tuple(caps))}, [capped], now=now)[capped]


def counted(redis: Redis, caps: Sequence[Cap], *sent: CapKey, now: datetime = NOW) -> int:
    return count(redis, {"otp": replace(OTP, caps=tuple(caps))}, sent, now=now)


def test_there_is_room_until_the_cap_is_reached_and_again_when_the_window_has_moved(redis: Redis) -> None:
    cap = Cap(2, 60)
    assert left(redis, [cap]) == 2
    counted(redis, [cap], ONE)
    counted(redis, [cap], ONE, now=NOW + timedelta(seconds=30))
    assert left(redis, [cap], now=NOW + timedelta(seconds=59)) == 0
    assert left(redis, [cap], now=NOW + timedelta(seconds=61)) == 1
    assert left(redis, [cap], now=NOW + timedelta(seconds=91)) == 2


def test_the_narrowest_cap_decides(redis: Redis) -> None:
    times = [NOW + timedelta(minutes=2 * n) for n in range(12)]
    sent = 0
    for now in times:
        if left(redis, LADDER, now=now):
            counted(redis, LADDER, ONE, now=now)
            sent += 1
        assert left(redis, LADDER, now=now + timedelta(seconds=1)) == 0
    assert sent == 5
    assert left(redis, LADDER, now=NOW + timedelta(hours=1, seconds=1)) == 1


def test_a_mobile_is_counted_for_each_account_and_lane_apart(redis: Redis) -> None:
    cap = Cap(1, 60)
    counted(redis, [cap], ONE)
    others = [CapKey("shop", "otp", mobile(1)), CapKey("default", "otp", mobile(2))]
    assert [left(redis, [cap], capped=capped) for capped in (ONE, *others)] == [0, 1, 1]
    notice = ONE._replace(lane="notice")
    assert room(redis, {"notice": replace(OTP, caps=(cap,))}, [notice], now=NOW) == {notice: 1}


def test_what_comes_to_a_full_window_is_told(redis: Redis) -> None:
    cap = Cap(2, 60)
    assert counted(redis, [cap, Cap(5, 3600)], ONE, ONE) == 0
    assert counted(redis, [cap, Cap(5, 3600)], ONE, ONE, CapKey("default", "otp", mobile(2))) == 2
    assert left(redis, [Cap(5, 3600)]) == 1


def test_the_room_is_that_of_a_list_of_all_times(redis: Redis) -> None:
    random, caps = Random(7), [Cap(2, 10), Cap(4, 60), Cap(9, 600)]
    times: list[datetime] = []
    now = NOW
    for _ in range(300):
        now += timedelta(milliseconds=random.choice((1, 999, 5000, 20_000, 100_000)))
        free = min(cap.times - sum(at >= now - timedelta(seconds=cap.seconds) for at in times) for cap in caps)
        assert left(redis, caps, now=now) == free
        if free > 0:
            assert counted(redis, caps, ONE, now=now) == 0
            times.append(now)
    assert len(times) > 30


def test_the_library_reads_what_is_counted_here_and_the_other_way_round(redis: Redis, redis_url: str) -> None:
    limiter = MovingWindowRateLimiter(RedisStorage(redis_url, key_prefix="sms"))
    item, now = RateLimitItemPerSecond(3, 3600, "cap"), datetime.now(UTC)
    counted(redis, [Cap(3, 3600)], ONE, now=now)
    assert limiter.get_window_stats(item, *ONE).remaining == 2
    assert limiter.hit(item, *ONE)
    assert left(redis, [Cap(3, 3600)], now=datetime.now(UTC)) == 1


def test_a_window_vanishes_when_it_is_over(redis: Redis) -> None:
    counted(redis, LADDER, ONE)
    assert sorted(map(redis.ttl, redis.keys())) == [pytest.approx(cap.seconds, abs=1) for cap in LADDER]


@pytest.mark.parametrize("forget", ["script_flush", "flushall"])
def test_a_redis_that_has_forgotten_the_scripts_is_given_them_again(redis: Redis, forget: str) -> None:
    counted(redis, LADDER, ONE)
    getattr(redis, forget)()
    assert left(redis, [Cap(5, 3600)]) == (4 if forget == "script_flush" else 5)


def test_many_windows_are_one_round_trip_and_no_caps_are_none(redis: Redis) -> None:
    lanes = {"otp": replace(OTP, caps=LADDER)}
    capped = [CapKey("default", "otp", mobile(n)) for n in range(AT_ONCE // len(LADDER))]
    trips: list[int] = []

    class Counting(Redis):
        def pipeline(self, *args, **kwargs):  # type: ignore[no-untyped-def]
            trips.append(1)
            return super().pipeline(*args, **kwargs)

    mine = Counting(connection_pool=redis.connection_pool)
    room(mine, lanes, capped, now=NOW)
    assert len(trips) == 1
    count(mine, lanes, capped, now=NOW)
    assert len(trips) == 2
    room(mine, lanes, capped * 2, now=NOW)
    assert len(trips) == 4
    none = {"otp": replace(OTP, caps=())}
    assert room(mine, none, capped, now=NOW) == {}
    assert count(mine, none, capped, now=NOW) == 0
    assert len(trips) == 4


def test_without_redis_it_is_not_known() -> None:
    away = open_redis("redis://127.0.0.1:1/0", patience_seconds=0.2)
    with pytest.raises(RedisConnectionError):
        left(away, LADDER)
    with pytest.raises(RedisConnectionError):
        counted(away, LADDER, ONE)

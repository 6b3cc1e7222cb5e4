"""Beat: a tick a second, whatever the clock says, and few words while Redis is away."""

import logging

import pytest
from celery import Celery
from redis import Redis

from worker.beat import LONGEST_PAUSE_SECONDS, TICK_SECONDS, Ticker


def ticker(redis_url: str) -> Ticker:
    return Ticker(Celery(broker=redis_url, set_as_current=False), lazy=True)


def test_however_long_no_worker_is_there_one_tick_waits(redis: Redis, redis_url: str) -> None:
    beat = ticker(redis_url)
    assert [beat.tick() for _ in range(100)] == [TICK_SECONDS] * 100
    assert redis.llen("sms.upkeep") == 1


def test_a_tick_does_not_expire(redis: Redis, redis_url: str) -> None:
    ticker(redis_url).tick()
    assert b"expires" not in redis.lindex("sms.upkeep", 0)


def test_two_beats_do_no_harm(redis: Redis, redis_url: str) -> None:
    for beat in (ticker(redis_url), ticker(redis_url)):
        beat.tick()
    assert redis.llen("sms.upkeep") == 1


def test_while_redis_is_away_it_says_so_in_a_line_each_time_and_tries_less_and_less_often(
    caplog: pytest.LogCaptureFixture,
) -> None:
    beat = ticker("redis://127.0.0.1:1/0")
    with caplog.at_level(logging.WARNING):
        pauses = [beat.tick() for _ in range(6)]
    assert pauses == [2, 4, 8, LONGEST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS]
    assert [record.exc_info for record in caplog.records] == [None] * 6
    assert all("\n" not in record.getMessage() for record in caplog.records)


def test_once_redis_is_back_it_ticks_every_second_again(redis: Redis, redis_url: str) -> None:
    beat = ticker(redis_url)
    beat._pause = LONGEST_PAUSE_SECONDS
    assert beat.tick() == TICK_SECONDS

"""The accounts that workers announce to each other and to the clients."""

from datetime import timedelta

from ledger_driver import NOW
from redis import Redis

from worker.redis_store import accounts as announced
from worker.redis_store.accounts import announcing


def test_each_worker_tells_clients_its_accounts_once_a_minute(redis: Redis) -> None:
    now = [0.0]
    announce = announcing(redis, ["default"], lambda: NOW, lambda: now[0])
    announce()
    assert announced.known(redis) == {"default"}
    redis.delete("sms:accounts:known")
    now[0] = 59
    announce()
    assert announced.known(redis) is None
    now[0] = 60
    announce()
    assert announced.known(redis) == {"default"}


def test_the_accounts_of_workers_with_other_settings_stay_known_and_those_of_none_are_forgotten(redis: Redis) -> None:
    announced.announce(redis, ["default", "old"], now=NOW)
    announced.announce(redis, ["default", "new"], now=NOW + timedelta(seconds=1))
    assert announced.known(redis) == {"default", "old", "new"}
    assert announced.known_to_all(redis, now=NOW + timedelta(minutes=9)) is None
    later = NOW + timedelta(minutes=11)
    announced.announce(redis, ["default", "new"], now=later)
    assert announced.known(redis) == announced.known_to_all(redis, now=later) == {"default", "new"}

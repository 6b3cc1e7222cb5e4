"""Pushes that went to Redis while the ledger was away."""

from ledger_driver import NOW, Ledger
from redis import Redis

from worker.inbound.process_push import keep_pushes
from worker.redis_store import intake


def test_what_lies_among_the_pushes_and_is_none_is_kept_to_be_quarantined(ledger: Ledger, redis: Redis) -> None:
    for number, item in enumerate((b"{", b"\xff", b"[" * 50_000, b'{"body": 1}')):
        redis.hset("sms:intake:push", str(number), item)
        redis.zadd("sms:intake:push:waiting", {str(number): NOW.timestamp()})
    assert len(keep_pushes(ledger.engine, redis, now=NOW)) == 4
    assert intake.depth(redis)["push"] == 0

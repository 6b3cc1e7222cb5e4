"""A lock lets one worker do what the others would do in vain."""

from redis import Redis

from worker.redis_store.lock import lock


def test_one_does_a_thing_and_the_next_when_it_is_done(redis: Redis) -> None:
    with lock(redis, "wait", lost_seconds=2) as first, lock(redis, "launch", lost_seconds=2) as of_another_thing:
        with lock(redis, "wait", lost_seconds=2) as second:
            assert (first, of_another_thing, second) == (True, True, False)
        # A worker that does not have the lock does not release it.
        with lock(redis, "wait", lost_seconds=2) as third:
            assert not third
    with lock(redis, "wait", lost_seconds=2) as next_one:
        assert next_one


def test_one_that_is_lost_is_followed_by_another(redis: Redis) -> None:
    with lock(redis, "wait", lost_seconds=2):
        assert 0 < redis.pttl("sms:alone:wait") <= 2000
        redis.delete("sms:alone:wait")  # as if that time were over
        with lock(redis, "wait", lost_seconds=2) as next_one:
            assert next_one

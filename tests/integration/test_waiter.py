"""Of all the workers one waits for tokens in a lane."""

from redis import Redis

from worker.limits.waiter import LOST_SECONDS, only_waiter


def test_one_waits_in_each_lane_and_the_next_when_it_is_done(redis: Redis) -> None:
    with only_waiter(redis, "notice") as first, only_waiter(redis, "otp") as of_another_lane:
        with only_waiter(redis, "notice") as second:
            assert (first, of_another_lane, second) == (True, True, False)
        # Who was not the one does not end the wait of the one.
        with only_waiter(redis, "notice") as third:
            assert not third
    with only_waiter(redis, "notice") as next_one:
        assert next_one


def test_a_waiter_that_is_lost_is_followed_by_another(redis: Redis) -> None:
    with only_waiter(redis, "notice"):
        assert 0 < redis.pttl("sms:waits:notice") <= LOST_SECONDS * 1000
        redis.delete("sms:waits:notice")  # as if that time were over
        with only_waiter(redis, "notice") as next_one:
            assert next_one

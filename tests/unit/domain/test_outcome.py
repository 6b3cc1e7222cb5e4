"""What follows from an outcome: the table of docs/architecture.md."""

import itertools
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.domain.outcome import (
    BACKOFF_TOLD,
    FAILED_TRIES,
    MAX_BACKOFF,
    Outcome,
    Step,
    Verdict,
    backoff,
    next_step,
    wait_after,
)
from worker.domain.status import State
from worker.domain.submission import Claimed

NOW = datetime(2026, 11, 22, 4, 0, tzinfo=UTC)
LATER = NOW + timedelta(hours=24)


def step(
    outcome: Outcome,
    attempt: int = 1,
    expires_at: datetime = LATER,
    failed: int = 0,
    resent: bool = False,
    resend: bool = False,
) -> Step:
    claimed = Claimed(
        id=1,
        account_id=1,
        msg_id=1,
        attempt=attempt,
        expires_at=expires_at,
        until=NOW,
        lane="notice",
        resent=resent,
        content="您好",
        mobiles=("13800138000",),
        failed=failed,
    )
    return next_step(outcome, claimed, now=NOW, jitter=0, resend=resend)


def after(**wait: float) -> datetime:
    return NOW + timedelta(**wait)


@pytest.mark.parametrize(
    ("what", "outcome", "attempt", "expected"),
    [
        ("taken", Outcome(Verdict.ACCEPTED), 1, Step(State.ACCEPTED)),
        ("nobody knows", Outcome(Verdict.UNKNOWN), 1, Step(State.UNKNOWN)),
        ("refused for good", Outcome(Verdict.REJECTED), 1, Step(State.REJECTED)),
        ("did not leave", Outcome(Verdict.NOT_SENT), 1, Step(State.HELD, after(seconds=5))),
        ("did not leave again", Outcome(Verdict.NOT_SENT), 3, Step(State.HELD, after(seconds=20))),
        ("did not leave for long", Outcome(Verdict.NOT_SENT), 30, Step(State.HELD, after(minutes=5))),
        ("come again", Outcome(Verdict.BUSY, retry_after=timedelta(seconds=7)), 1, Step(State.HELD, after(seconds=7))),
        ("come again, some time", Outcome(Verdict.BUSY), 1, Step(State.HELD, after(seconds=5))),
        ("0 失败", Outcome(Verdict.FAILED), 1, Step(State.HELD, after(seconds=5))),
        ("0 失败 twice", Outcome(Verdict.FAILED), 2, Step(State.HELD, after(seconds=10))),
        ("the clock", Outcome(Verdict.CLOCK), 1, Step(State.HELD, after(seconds=5))),
        ("the account", Outcome(Verdict.ACCOUNT), 2, Step(State.HELD, after(seconds=10))),
        ("at once", Outcome(Verdict.BUSY, retry_after=timedelta(0)), 1, Step(State.HELD, after(seconds=1))),
        (
            "at once, it says again",
            Outcome(Verdict.BUSY, retry_after=timedelta(0)),
            4,
            Step(State.HELD, after(seconds=8)),
        ),
        ("in an hour", Outcome(Verdict.BUSY, retry_after=timedelta(hours=1)), 30, Step(State.HELD, after(hours=1))),
    ],
)
def test_an_outcome_has_one_next_step(what: str, outcome: Outcome, attempt: int, expected: Step) -> None:
    assert step(outcome, attempt) == expected, what


def test_an_unknown_is_sent_again_where_its_lane_says_so_and_after_a_while() -> None:
    unknown = Outcome(Verdict.UNKNOWN)
    assert step(unknown, resend=True) == Step(State.HELD, after(seconds=5), resent=True)
    assert step(unknown, attempt=3, resend=True) == Step(State.HELD, after(seconds=20), resent=True)
    assert step(unknown, resend=True, resent=True) == Step(State.UNKNOWN)


def test_an_unknown_is_not_sent_again_when_it_would_be_late() -> None:
    assert step(Outcome(Verdict.UNKNOWN), expires_at=after(seconds=5), resend=True) == Step(State.UNKNOWN)


def test_a_lane_that_has_unknowns_sent_again_changes_nothing_else() -> None:
    for verdict in set(Verdict) - {Verdict.UNKNOWN}:
        assert step(Outcome(verdict), resend=True) == step(Outcome(verdict))


def test_a_refusal_without_a_reason_is_tried_three_times_whatever_other_attempts_there_were() -> None:
    failed = Outcome(Verdict.FAILED)
    assert [step(failed, attempt=7 + times, failed=times).state for times in range(FAILED_TRIES)] == [
        State.HELD,
        State.HELD,
        State.REJECTED,
    ]


WAITING = [
    Verdict.NOT_SENT,
    Verdict.BUSY,
    Verdict.FAILED,
    Verdict.CLOCK,
    Verdict.ACCOUNT,
]


@given(
    st.lists(
        st.tuples(
            st.sampled_from(WAITING),
            st.none() | st.integers(0, 3600).map(lambda seconds: timedelta(seconds=seconds)),
            st.floats(0, 1),
        ),
        min_size=1,
    )
)
def test_no_gateway_can_have_a_message_tried_more_than_some_thousand_times_in_a_week(
    said: list[tuple[Verdict, timedelta | None, float]],
) -> None:
    now, attempt = NOW, 0
    for verdict, retry_after, jitter in itertools.cycle(said):
        attempt += 1
        wait = wait_after(Outcome(verdict, retry_after=retry_after), attempt, jitter)
        assert wait >= max(BACKOFF_TOLD / 2, retry_after or timedelta(0))
        now += wait
        if now >= NOW + timedelta(days=7):
            break
    assert attempt <= timedelta(days=7) / (MAX_BACKOFF / 2) + 20


@pytest.mark.parametrize("verdict", list(Verdict))
def test_what_was_sent_again_and_is_refused_may_have_been_taken_the_first_time(verdict: Verdict) -> None:
    refused = step(Outcome(verdict), failed=2).state is State.REJECTED
    assert step(Outcome(verdict), failed=2, resent=True) == (
        Step(State.UNKNOWN) if refused else step(Outcome(verdict), failed=2)
    )


def test_nothing_waits_longer_than_it_is_worth_sending() -> None:
    soon = after(seconds=3)
    assert step(Outcome(Verdict.NOT_SENT), expires_at=soon) == Step(State.HELD, soon)


def test_backoffs_are_spread_over_half_their_length() -> None:
    assert backoff(1, 0.0) == timedelta(seconds=5)
    assert backoff(1, 1.0) == timedelta(seconds=2.5)


def test_only_what_was_surely_not_taken_is_ever_sent_again() -> None:
    assert [verdict for verdict in Verdict if step(Outcome(verdict)).state is State.HELD] == WAITING

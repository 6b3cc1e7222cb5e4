"""What follows from an outcome: the table of docs/architecture.md."""

from datetime import UTC, datetime, timedelta

import pytest

from worker.domain.outcome import BACKOFF_FIRST, Outcome, Step, Verdict, backoff, next_step
from worker.domain.status import State

NOW = datetime(2026, 11, 22, 4, 0, tzinfo=UTC)
LATER = NOW + timedelta(hours=24)


def step(outcome: Outcome, attempt: int = 1, expires_at: datetime = LATER, **told: bool) -> Step:
    return next_step(outcome, attempt=attempt, now=NOW, expires_at=expires_at, jitter=0, **told)


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
        ("0 失败 three times", Outcome(Verdict.FAILED), 3, Step(State.REJECTED)),
        ("the clock", Outcome(Verdict.CLOCK), 9, Step(State.HELD, NOW + BACKOFF_FIRST)),
        ("the account", Outcome(Verdict.ACCOUNT), 9, Step(State.HELD, NOW + BACKOFF_FIRST)),
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


@pytest.mark.parametrize("verdict", list(Verdict))
def test_what_was_sent_again_and_is_refused_may_have_been_taken_the_first_time(verdict: Verdict) -> None:
    refused = step(Outcome(verdict), attempt=3).state is State.REJECTED
    assert step(Outcome(verdict), attempt=3, resent=True) == (
        Step(State.UNKNOWN) if refused else step(Outcome(verdict), attempt=3)
    )


def test_nothing_waits_longer_than_it_is_worth_sending() -> None:
    soon = after(seconds=3)
    assert step(Outcome(Verdict.NOT_SENT), expires_at=soon) == Step(State.HELD, soon)


def test_backoffs_are_spread_over_half_their_length() -> None:
    assert backoff(1, 0.0) == timedelta(seconds=5)
    assert backoff(1, 1.0) == timedelta(seconds=2.5)


def test_only_what_was_surely_not_taken_is_ever_sent_again() -> None:
    again = {verdict for verdict in Verdict if step(Outcome(verdict)).state is State.HELD}
    assert again == {Verdict.NOT_SENT, Verdict.BUSY, Verdict.FAILED, Verdict.CLOCK, Verdict.ACCOUNT}

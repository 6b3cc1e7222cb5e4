"""What a task of a lane does: what there is to do, and it rings again if there is more."""

from collections.abc import Iterable, Sequence
from contextlib import nullcontext, suppress
from datetime import UTC, datetime

import pytest

from worker.ledger.turns import Claimed
from worker.pull import Pulled
from worker.work import PATIENCE_SECONDS, work

NOW = datetime(2026, 11, 22, 4, 0, tzinfo=UTC)
CALL = Claimed(1, 1, 1, 1, NOW, NOW, "notice", False, "您好", ("13800138000",))


class Lane:
    """What became of a task, to which these answers were given when it pulled."""

    def __init__(
        self, *answers: Pulled, ending: bool = False, alone: bool = True, deaf: Exception | None = None
    ) -> None:
        self.did: list[object] = []
        self._answers = iter(answers)
        self._deaf = deaf
        with suppress(type(deaf)) if deaf else nullcontext():
            self._work(ending, alone)

    def _work(self, ending: bool, alone: bool) -> None:
        work(
            take_in=lambda: self.did.append("take in"),
            pull=self._pull,
            submit=self._submit,
            ring=self._ring,
            only_waiter=lambda: nullcontext(alone),
            pause=lambda seconds: self.did.append(seconds) or ending,
        )

    def _pull(self) -> Pulled:
        self.did.append("pull")
        return next(self._answers)

    def _ring(self) -> None:
        self.did.append("ring")
        if self._deaf:
            raise self._deaf

    def _submit(self, claimed: Sequence[Claimed]) -> None:
        self.did += claimed


def waits(times: int, seconds: float) -> Iterable[Pulled]:
    return [Pulled([], wait=seconds)] * times


@pytest.mark.parametrize(
    ("pulled", "then"),
    [
        (Pulled([]), []),
        (Pulled([CALL]), [CALL]),
        (Pulled([CALL], more=True), ["ring", CALL]),
        (Pulled([CALL], wait=0.2), ["ring", CALL]),
    ],
)
def test_it_calls_what_it_has_and_rings_first_if_there_is_more(pulled: Pulled, then: list[object]) -> None:
    assert Lane(pulled).did == ["take in", "pull", *then]


def test_it_waits_for_tokens_and_calls_when_there_are_some() -> None:
    done = Lane(*waits(2, 0.1), Pulled([CALL], more=True)).did
    assert done == ["take in", "pull", 0.1, "pull", 0.1, "pull", "ring", CALL]


def test_it_waits_no_longer_than_an_otp_may_have_to_wait_for_its_thread() -> None:
    done = Lane(*waits(9, 0.2)).did
    assert sum(seconds for seconds in done if isinstance(seconds, float)) == pytest.approx(PATIENCE_SECONDS)
    assert done[-1] == "ring"


def test_while_another_task_waits_for_the_tokens_of_the_lane_it_leaves_that_to_it() -> None:
    assert Lane(*waits(1, 0.1), alone=False).did == ["take in", "pull"]
    assert Lane(Pulled([CALL], wait=0.1), alone=False).did == ["take in", "pull", "ring", CALL]


def test_it_gives_the_lane_back_at_once_when_the_worker_is_to_end() -> None:
    assert Lane(*waits(1, 0.2), ending=True).did == ["take in", "pull", 0.2, "ring"]


@pytest.mark.parametrize("pulled", [Pulled([CALL], more=True), Pulled([CALL], wait=0.2)])
def test_what_it_has_claimed_it_calls_also_where_nobody_can_be_rung(pulled: Pulled) -> None:
    assert Lane(pulled, deaf=ConnectionError("Redis is away")).did == ["take in", "pull", "ring", CALL]

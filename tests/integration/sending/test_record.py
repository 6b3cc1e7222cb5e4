"""Recording what became of calls while somebody else holds the row of one of them."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from threading import Event

import pytest
from ledger_driver import NOW, Ledger, message
from sqlalchemy import Engine, select

from worker.domain.status import State
from worker.domain.submission import Claimed, Recorded
from worker.ledger import tables as t
from worker.ledger.engine import open_engine
from worker.sending.record import recorder

DEADLINE = 10


@contextmanager
def held(engine: Engine, submission_id: int) -> Iterator[None]:
    """Holds the row of that submission in another transaction, which does not commit."""
    with engine.connect() as connection:
        connection.execute(select(t.submissions.c.id).where(t.submissions.c.id == submission_id).with_for_update())
        yield
        connection.rollback()


def accepted(call: Claimed) -> Recorded:
    return Recorded(call.id, call.attempt, State.ACCEPTED, None, "1", "成功")


def claimed(ledger: Ledger, many: int) -> list[Claimed]:
    ids_by_message = ledger.accept(*(message(f"m{number}", content=f"您好 {number}") for number in range(many)))
    return ledger.claim(
        [submission_id for submission_ids in ids_by_message.values() for submission_id in submission_ids]
    )


def test_a_locked_row_keeps_no_other_outcome_waiting_and_has_its_own_recorded_once_it_is_free(
    postgres_url: str,
) -> None:
    engine = open_engine(postgres_url, connections=3)
    ledger = Ledger(engine)
    locked, *others = claimed(ledger, 20)
    waits, go_on = Event(), Event()

    def pause(_: float) -> None:
        waits.set()
        assert go_on.wait(DEADLINE)

    record = recorder(engine, clock=lambda: NOW, pause=pause)
    with ThreadPoolExecutor(20) as threads:
        with held(engine, locked.id):
            late = threads.submit(record, accepted(locked))
            for future in [threads.submit(record, accepted(call)) for call in others]:
                future.result(DEADLINE)
            assert waits.wait(DEADLINE)
            assert ledger.states() == {State.SUBMITTING: 1, State.ACCEPTED: 19}
            assert not late.done()
        go_on.set()
        late.result(DEADLINE)
    assert ledger.states() == {State.ACCEPTED: 20}
    engine.dispose()


def test_who_holds_a_row_for_long_is_told_of_once(postgres_url: str, caplog: pytest.LogCaptureFixture) -> None:
    engine = open_engine(postgres_url, connections=3)
    ledger = Ledger(engine)
    [call] = claimed(ledger, 1)
    with ExitStack() as holding:
        pauses: list[float] = []
        holding.enter_context(held(engine, call.id))

        def pause(seconds: float) -> None:
            pauses.append(seconds)
            if len(pauses) == 9:
                holding.close()

        recorder(engine, clock=lambda: NOW, pause=pause)(accepted(call))
    assert ledger.states() == {State.ACCEPTED: 1}
    assert [line.getMessage().partition(":")[0] for line in caplog.records] == [f"submission {call.id}, attempt 1"]
    engine.dispose()


def test_an_outcome_that_no_longer_counts_is_recorded_by_nobody_and_ends(ledger: Ledger) -> None:
    [call] = claimed(ledger, 1)
    record = recorder(ledger.engine, clock=lambda: NOW, pause=_never)
    record(accepted(call))
    record(Recorded(call.id, call.attempt, State.REJECTED, None, "-8", None))
    assert ledger.states() == {State.ACCEPTED: 1}


def _never(seconds: float) -> None:
    raise AssertionError(f"it was to be tried again after {seconds} s")

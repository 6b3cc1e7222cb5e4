"""Any order, any repetition and any split of the same pushes leaves the same ledger.

Two bounds of what is promised: all of them come within the repeat window, for after it the same words are another reply. And a split
keeps together what is one reply several times: twice in one push is twice, while once in each of two pushes is once.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from ledger_of import NOW, Ledger, message, mobile, reply_push, status_push
from sqlalchemy import delete

from worker.ledger.tables import pushes, replies, reports
from worker.process_push import REPEAT_WINDOW

Item = tuple[str, int, int] | tuple[str, str, str]

REPORT = st.tuples(st.integers(1, 4).map(mobile), st.sampled_from([100, 101, 999]), st.sampled_from([1, -1]))
REPLY = st.tuples(st.integers(1, 2).map(mobile), st.sampled_from(["100", "x"]), st.sampled_from(["T", "退订"]))
HALF = REPEAT_WINDOW / 2


@dataclass(frozen=True)
class Coming:
    """A push as it comes in."""

    at: datetime
    items: tuple[Item, ...]

    @property
    def body(self) -> str:
        is_report = isinstance(self.items[0][2], int)
        return status_push(*self.items) if is_report else reply_push(*self.items)  # type: ignore[arg-type]


def some_time() -> st.SearchStrategy[timedelta]:
    return st.integers(0, int(HALF.total_seconds())).map(lambda seconds: timedelta(seconds=seconds))


@st.composite
def comings(draw: st.DrawFn) -> tuple[list[Coming], list[Coming]]:
    """Pushes as the gateway made them, and the same again in another order, repeated and split."""
    lists = st.one_of(st.lists(REPORT, min_size=1, max_size=6), st.lists(REPLY, min_size=1, max_size=6))
    originals = [
        Coming(NOW + draw(some_time()), tuple(items)) for items in draw(st.lists(lists, min_size=1, max_size=4))
    ]
    others = []
    for push in originals:
        part_of = {item: draw(st.integers(0, 2)) for item in sorted(set(push.items))}
        for part in sorted(set(part_of.values())):
            items = draw(st.permutations([item for item in push.items if part_of[item] == part]))
            again = draw(st.lists(some_time(), max_size=2))
            others += [Coming(push.at + later, tuple(items)) for later in (timedelta(), *again)]
    return originals, draw(st.permutations(others))


def left_by(ledger: Ledger, come: Sequence[Coming]) -> tuple[object, ...]:
    """What is in the ledger after these pushes, and nothing else."""
    with ledger.engine.begin() as connection:
        for table in (reports, replies, pushes):
            connection.execute(delete(table))
    for push in come:
        ledger.push(push.body, push.at)
    assert {row["state"] for row in ledger.rows(pushes)} == {"processed"}
    return (
        ledger.statuses(),
        {(row["msg_id"], row["mobile"], row["status"], row["received_at"]) for row in ledger.rows(reports)},
        Counter((row["mobile"], row["msg_id"], row["content"]) for row in ledger.rows(replies)),
    )


@settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(comings())
def test_the_same_pushes_in_any_order_repeated_and_split_leave_the_same_ledger(
    ledger: Ledger, come: tuple[list[Coming], list[Coming]]
) -> None:
    sent = [message("a", mobile(1), mobile(2)), message("b", mobile(3), mobile(4))]
    ledger.claim([no for nos in ledger.accept(*sent).values() for no in nos])
    assert left_by(ledger, come[1]) == left_by(ledger, come[0])


@settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(comings())
def test_every_report_is_there_with_its_earliest_push_and_every_reply_as_often_as_one_push_had_it(
    ledger: Ledger, come: tuple[list[Coming], list[Coming]]
) -> None:
    told: dict[tuple[object, ...], datetime] = {}
    said: Counter[Item] = Counter()
    for push in come[0]:
        if isinstance(push.items[0][2], str):
            said |= Counter(push.items)
            continue
        for to, msg_id, status in push.items:
            key = (msg_id, to, "delivered" if status == 1 else "undelivered")
            told[key] = min(push.at, told.get(key, push.at))
    assert left_by(ledger, come[1])[1:] == ({(*key, at) for key, at in told.items()}, said)

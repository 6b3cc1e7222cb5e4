"""The ledger is a function of the pushes: any order, any repetition and any split of the same pushes leaves the same ledger.

The promise has one limit: a split keeps equal replies together. Two equal replies in one push count as two, but one in
each of two pushes counts as one.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from ledger_driver import ACCOUNT_KEYS, NOW, Ledger, message, mobile, reply_push, status_push
from sqlalchemy import delete

from worker.domain.optout import OPTOUT_WORDS
from worker.domain.push import REPEAT_WINDOW, Reply
from worker.domain.push import first_replies as domain_first_replies
from worker.inbound.process_push import process_push
from worker.ledger import tables as t
from worker.ledger.inbound import pushes

Item = tuple[str, int, int] | tuple[str, str, str]

REPORT = st.tuples(st.integers(1, 4).map(mobile), st.sampled_from([100, 101, 999]), st.sampled_from([1, -1]))
REPLY = st.tuples(st.integers(1, 2).map(mobile), st.sampled_from(["100", "x"]), st.sampled_from(["T", "退订", "好"]))
# Any time, and often times that are just as far apart as the window is long, or a little more or less.
TIME = st.builds(
    lambda windows, micros: NOW + windows * REPEAT_WINDOW / 4 + timedelta(microseconds=micros),
    st.integers(0, 12),
    st.sampled_from([0, 0, 1, 999, 499_999, 999_999]) | st.integers(0, 10**9),
)


@dataclass(frozen=True)
class Coming:
    """A push as it comes in."""

    at: datetime
    items: tuple[Item, ...]

    @property
    def body(self) -> bytes:
        is_report = isinstance(self.items[0][2], int)
        return (status_push(*self.items) if is_report else reply_push(*self.items)).encode()  # type: ignore[arg-type]


Comings = list[tuple[Coming, int]]
"""Pushes in the order in which they are kept, each with how often it is processed."""


@st.composite
def comings(draw: st.DrawFn) -> tuple[list[Coming], Comings]:
    """Pushes as the gateway made them, and the same again in another order, kept twice, processed twice and split."""
    lists = st.one_of(st.lists(REPORT, min_size=1, max_size=6), st.lists(REPLY, min_size=1, max_size=6))
    originals = [Coming(draw(TIME), tuple(items)) for items in draw(st.lists(lists, min_size=1, max_size=5))]
    others = []
    for original in originals:
        part_of = {item: draw(st.integers(0, 2)) for item in sorted(set(original.items))}
        for part in sorted(set(part_of.values())):
            items = draw(st.permutations([item for item in original.items if part_of[item] == part]))
            others += [(Coming(original.at, tuple(items)), draw(st.integers(1, 2)))] * draw(st.integers(1, 2))
    return originals, draw(st.permutations(others))


def left_by(ledger: Ledger, come: Comings) -> tuple[object, ...]:
    """Processes these pushes and no others. Returns what the ledger has then."""
    with ledger.engine.begin() as connection:
        for table in (t.reports, t.replies, t.optouts, t.pushes):
            connection.execute(delete(table))
        push_ids = [
            pushes.add(connection, coming.body, source="127.0.0.1", received_at=coming.at) for coming, _ in come
        ]
    # The pushes that are processed twice are processed again after all others.
    for turn in (1, 2):
        for push_id, (_, times) in zip(reversed(push_ids), reversed(come), strict=True):
            if turn <= times:
                process_push(
                    ledger.engine, push_id, {ACCOUNT_KEYS: ledger.account_ids["default"]}, optout_words=OPTOUT_WORDS
                )
    assert {row["state"] for row in ledger.rows(t.pushes)} == {"processed"}
    return (
        ledger.statuses(),
        {(row["msg_id"], row["mobile"], row["status"], row["received_at"]) for row in ledger.rows(t.reports)},
        sorted((row["received_at"], _reply(row)) for row in ledger.rows(t.first_replies)),
        {row["mobile"]: (row["since"], row["why"], row["msg_id"]) for row in ledger.rows(t.optouts)},
    )


def _reply(row: dict[str, object]) -> Reply:
    return Reply(str(row["mobile"]), str(row["msg_id"]), str(row["content"]))


def once(come: Sequence[Coming]) -> Comings:
    return [(coming, 1) for coming in come]


@settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(comings())
def test_the_same_pushes_in_any_order_repeated_and_split_leave_the_same_ledger(
    ledger: Ledger, come: tuple[list[Coming], Comings]
) -> None:
    sent = [message("a", mobile(1), mobile(2)), message("b", mobile(3), mobile(4))]
    ledger.claim(
        [submission_id for submission_ids in ledger.accept(*sent).values() for submission_id in submission_ids]
    )
    assert left_by(ledger, come[1]) == left_by(ledger, once(come[0]))


@settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(comings())
def test_every_report_and_optout_is_there_with_its_earliest_push_and_the_replies_are_those_that_the_domain_says(
    ledger: Ledger, come: tuple[list[Coming], Comings]
) -> None:
    ledger.sent_to(mobile(1), mobile(2))
    reports: dict[tuple[object, ...], datetime] = {}
    said: list[tuple[datetime, list[Reply]]] = []
    opted_out: dict[str, tuple[datetime, str, str]] = {}
    for coming in come[0]:
        if isinstance(coming.items[0][2], str):
            said.append((coming.at, [Reply(*item) for item in coming.items]))  # type: ignore[arg-type]  # texts, as the first says
            for reply in said[-1][1]:
                if reply.content != "好":
                    first = (coming.at, reply.content, reply.msg_id)
                    opted_out[reply.mobile] = min(first, opted_out.get(reply.mobile, first))
            continue
        for to, msg_id, status in coming.items:
            key = (msg_id, to, "delivered" if status == 1 else "undelivered")
            reports[key] = min(coming.at, reports.get(key, coming.at))
    assert left_by(ledger, come[1])[1:] == (
        {(*key, at) for key, at in reports.items()},
        domain_first_replies(said),
        opted_out,
    )

"""Whose turn it is: fair shares between accounts and between callers, as far as the rates allow."""

from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from ledger_driver import NOW, Ledger, message, mobile
from sqlalchemy import text

from worker.domain.lane import Lane
from worker.ledger import tables as t
from worker.ledger.sending import accounts, claims, gates
from worker.ledger.sending.claims import _QUEUES
from worker.redis_store.rate import Grant
from worker.sending.pull import LOOK_AGAIN, NO_LOOK, Pulled


@pytest.fixture
def two_accounts(ledger: Ledger) -> Ledger:
    with ledger.engine.begin() as connection:
        ledger.account_ids |= accounts.register(connection, ["shop"], first_msg_id=1, now=NOW)
    return ledger


def many(ledger: Ledger, name: str, count: int, **fields: object) -> None:
    """Accepts that many messages, each with a text of its own."""
    ledger.accept(*(message(f"{name}{n:04}", mobile(n), content=f"{name} {n}", **fields) for n in range(count)))  # type: ignore[arg-type]


def by_caller(ledger: Ledger, pulled: Pulled) -> Counter[str]:
    caller = {row["id"]: str(row["caller"]) for row in ledger.rows(t.submissions)}
    return Counter(caller[call.id] for call in pulled.claimed)


def test_one_callers_many_messages_do_not_keep_anothers_few_waiting(ledger: Ledger) -> None:
    many(ledger, "campaign", 200, caller="campaign")
    many(ledger, "shop", 4, caller="shop")
    assert by_caller(ledger, ledger.pull(most=10)) == {"campaign": 5, "shop": 4}
    assert by_caller(ledger, ledger.pull(most=10)) == {"campaign": 10}


def test_accounts_have_equal_shares_however_many_callers_each_has(two_accounts: Ledger) -> None:
    for caller in "abc":
        many(two_accounts, caller, 20, caller=caller)
    many(two_accounts, "shop", 20, caller="s", account="shop")
    pulled = two_accounts.pull(most=12)
    of_account = Counter(call.account_id for call in pulled.claimed)
    assert of_account == {two_accounts.account_ids["default"]: 6, two_accounts.account_ids["shop"]: 6}
    assert by_caller(two_accounts, pulled) == {"a": 2, "b": 2, "c": 2, "s": 6}


def test_of_more_callers_than_places_each_has_its_turn(ledger: Ledger) -> None:
    for n in range(15):
        many(ledger, f"c{n:02}", 20, caller=f"c{n:02}")
    claims = sum((by_caller(ledger, ledger.pull(most=5)) for _ in range(40)), Counter[str]())
    assert len(claims) == 15


def test_the_oldest_of_a_caller_go_first(ledger: Ledger) -> None:
    for n in (2, 0, 1):
        ledger.accept(message(f"m{n}", mobile(n), content=f"{n}"), now=NOW + timedelta(seconds=n))
    pulled = ledger.pull(NOW + timedelta(minutes=1), most=2)
    assert sorted(call.content for call in pulled.claimed) == ["0", "1"]


def test_whether_more_is_due_is_told(ledger: Ledger) -> None:
    many(ledger, "m", 10)
    assert [ledger.pull(most=6).more, ledger.pull(most=6).more, ledger.pull(most=6).more] == [True, False, False]


def test_no_more_is_claimed_than_the_rate_allows_and_the_wait_is_told(ledger: Ledger) -> None:
    many(ledger, "m", 10)
    asked: list[tuple[str, Sequence[int]]] = []

    def allow(_: int, lane: Lane, sizes: Sequence[int]) -> Grant:
        asked.append((lane.name, sizes))
        return Grant(3, 0.25)

    pulled = ledger.pull(most=8, allow=allow)
    assert (len(pulled.claimed), pulled.more, pulled.wait) == (3, False, 0.25)
    assert asked == [("notice", [1] * 8)]
    assert ledger.states() == {"submitting": 3, "queued": 7}


def test_the_mobiles_of_each_call_are_told_to_the_rate(ledger: Ledger) -> None:
    ledger.accept(message("m", *map(mobile, range(7))), max_mobiles=3)
    sizes: list[int] = []

    def allow(_account: int, _lane: Lane, asked: Sequence[int]) -> Grant:
        sizes.extend(asked)
        return Grant(len(asked), 0)

    ledger.pull(allow=allow)
    assert sorted(sizes) == [1, 3, 3]


def test_an_account_whose_rate_is_used_up_is_no_trouble_of_anothers(two_accounts: Ledger) -> None:
    for caller in "ab":
        many(two_accounts, caller, 20, caller=caller)
    many(two_accounts, "shop", 20, account="shop")
    asked: list[int] = []

    def allow(account_id: int, _: Lane, sizes: Sequence[int]) -> Grant:
        asked.append(account_id)
        return Grant(len(sizes), 0) if account_id == two_accounts.account_ids["shop"] else Grant(0, 0.5)

    pulled = two_accounts.pull(most=10, allow=allow)
    assert {call.account_id for call in pulled.claimed} == {two_accounts.account_ids["shop"]}
    assert (pulled.more, pulled.wait) == (True, 0.5)
    assert sorted(asked) == sorted(two_accounts.account_ids.values()), "asked once for each account"


def test_pullers_side_by_side_share_the_rows(ledger: Ledger) -> None:
    many(ledger, "m", 200)
    with ThreadPoolExecutor(4) as threads:
        pulled = list(threads.map(lambda _: ledger.pull(most=20), range(30)))
    submission_ids = [call.id for each in pulled for call in each.claimed]
    assert len(submission_ids) == len(set(submission_ids)) == 200


def test_an_empty_lane_costs_one_statement(ledger: Ledger) -> None:
    many(ledger, "m", 3, lane="marketing")
    assert ledger.pull(lane="otp") == Pulled([])


def test_the_queues_of_a_lane_are_found_by_the_index_however_much_waits_in_them(ledger: Ledger) -> None:
    explain = "EXPLAIN QUERY PLAN "
    with ledger.engine.begin() as connection:
        if ledger.engine.dialect.name == "postgresql":
            # It would go through a table as small as this one.
            connection.execute(text("SET LOCAL enable_seqscan = off"))
            explain = "EXPLAIN "
        asked = text(explain + _QUEUES.text), {"lane": "otp", "now": NOW, "open": "open", "after": "", "most": 200}
        plan = [str(row) for row in connection.execute(*asked)]
    assert sum("ix_submissions_due" in step for step in plan) == 3, plan


def test_of_a_caller_for_each_message_some_are_looked_at_and_all_have_their_turn(two_accounts: Ledger) -> None:
    caller_count = 5 * claims.MOST_QUEUES // 2
    two_accounts.accept(
        *(message(f"m{n:04}", mobile(n), content=f"{n}", caller=f"u{n:04}") for n in range(caller_count))
    )
    many(two_accounts, "later", 3, caller="zz")
    many(two_accounts, "shop", 20, caller="a", account="shop")
    look, got = NO_LOOK, Counter[str]()
    looks = 0
    while True:
        with two_accounts.engine.connect() as connection:
            looked_at = claims.queues(connection, "notice", now=NOW, after=look.after)
        counts = Counter(queue.account_id for queue in looked_at)
        assert max(counts.values(), default=0) <= claims.MOST_QUEUES
        pulled = two_accounts.pull(most=50, last=look)
        assert pulled.claimed or look.queues or not pulled.more, "a new look says that there is more, and finds none"
        got += by_caller(two_accounts, pulled)
        look = pulled.look
        looks += 1
        if not pulled.more:
            break
    assert got == Counter({f"u{n:04}": 1 for n in range(caller_count)} | {"zz": 3, "a": 20})
    assert looks < 40


def test_a_look_begins_after_a_caller_and_goes_around_past_those_who_wait_for_their_time(ledger: Ledger) -> None:
    for caller in ("", "a", "b", "c", "d"):
        many(ledger, f"x{caller}", 2, caller=caller, **({"at": NOW + timedelta(hours=1)} if caller == "c" else {}))
    with ledger.engine.connect() as connection:

        def callers(after: str) -> list[str]:
            return [queue.caller for queue in claims.queues(connection, "notice", now=NOW, after=after)]

        assert callers("") == ["a", "b", "d", ""]
        assert callers("a") == ["b", "d", "", "a"]
        assert callers("bb") == ["d", "", "a", "b"]
        assert callers("z") == ["", "a", "b", "d"]


def test_a_backlog_is_claimed_from_one_look_and_who_comes_meanwhile_has_their_turn_at_the_next(
    ledger: Ledger, statements: list[str]
) -> None:
    many(ledger, "m", 200, caller="campaign")
    pulled = ledger.pull(most=10)
    many(ledger, "late", 5, caller="shop")
    statements.clear()
    pulled = ledger.pull(NOW + LOOK_AGAIN / 2, most=10, last=pulled.look)
    assert by_caller(ledger, pulled) == {"campaign": 10}
    assert not [statement for statement in statements if "RECURSIVE" in statement]
    pulled = ledger.pull(NOW + LOOK_AGAIN, most=10, last=pulled.look)
    assert by_caller(ledger, pulled) == {"campaign": 5, "shop": 5}


def test_what_was_claimed_is_not_gone_past_again_and_what_is_due_for_longer_has_its_turn_at_the_next_look(
    ledger: Ledger,
) -> None:
    for n in range(30):
        ledger.accept(message(f"m{n:02}", mobile(n), content=f"{n}"), now=NOW + timedelta(seconds=n))
    late = NOW + timedelta(minutes=1)
    pulled = ledger.pull(late, most=10)
    ledger.accept(message("old", mobile(99), content="old"), now=NOW)
    pulled = ledger.pull(late, most=10, last=pulled.look)
    assert sorted(call.content for call in pulled.claimed) == [str(n) for n in range(10, 20)]
    pulled = ledger.pull(late + LOOK_AGAIN, most=10, last=pulled.look)
    assert "old" in [call.content for call in pulled.claimed]


def test_a_look_of_which_no_queue_is_left_says_that_there_may_be_more(ledger: Ledger) -> None:
    many(ledger, "m", 15)
    pulled = ledger.pull(most=10)
    many(ledger, "late", 5, caller="shop")
    pulled = ledger.pull(most=10, last=pulled.look)
    assert (by_caller(ledger, pulled), pulled.more) == ({"": 5}, True)
    pulled = ledger.pull(most=10, last=pulled.look)
    assert (by_caller(ledger, pulled), pulled.more) == ({"shop": 5}, False)


def test_a_queue_that_runs_out_does_not_end_the_look_for_the_others(ledger: Ledger, statements: list[str]) -> None:
    many(ledger, "m", 200, caller="campaign")
    many(ledger, "few", 3, caller="shop")
    pulled = ledger.pull(most=10)
    statements.clear()
    assert by_caller(ledger, ledger.pull(most=10, last=pulled.look)) == {"campaign": 10}
    assert not [statement for statement in statements if "RECURSIVE" in statement]


def test_looks_that_are_kept_give_accounts_equal_shares_however_many_callers_each_has(two_accounts: Ledger) -> None:
    for caller in "abcde":
        many(two_accounts, caller, 20, caller=caller)
    many(two_accounts, "shop", 80, account="shop")
    look, of_account = NO_LOOK, Counter[int]()
    for _ in range(5):
        pulled = two_accounts.pull(most=10, last=look)
        look = pulled.look
        of_account.update(call.account_id for call in pulled.claimed)
    assert set(of_account.values()) == {25}


def test_an_older_look_that_finds_nothing_to_send_says_that_there_may_be_more(ledger: Ledger) -> None:
    many(ledger, "m", 20)
    pulled = ledger.pull(most=10)
    assert ledger.pull(most=10, last=pulled.look, sends=False).more
    assert not ledger.pull(most=10, sends=False).more


def test_what_the_rate_did_not_allow_is_claimed_from_the_same_look(ledger: Ledger) -> None:
    many(ledger, "m", 20)
    pulled = ledger.pull(most=10, allow=lambda *_: Grant(3, 0.1))
    pulled = ledger.pull(most=17, last=pulled.look)
    assert len({call.content for call in pulled.claimed}) == 17


def test_a_gate_that_closes_ends_the_look(ledger: Ledger) -> None:
    many(ledger, "m", 30)
    pulled = ledger.pull(most=10)
    with ledger.engine.begin() as connection:
        gates.pause(connection, "default", reason="a test", by="test", now=NOW)
    pulled = ledger.pull(most=10, last=pulled.look)
    pulled = ledger.pull(most=10, last=pulled.look)
    assert (pulled.claimed, pulled.more) == ([], False)

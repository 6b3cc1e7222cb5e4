"""People who opted out get no marketing: a message looks for them when it is accepted, and just before its call."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import datetime, timedelta
from threading import Event
from typing import Any

import pytest
from ledger_driver import ACCOUNT_KEYS, NOW, Ledger, message, mobile, reply_push, status_push
from sqlalchemy import Engine, insert, text

from worker.domain.caps import Cap, CapKey
from worker.domain.gate import PROBE_AGAIN
from worker.domain.lane import LANES
from worker.domain.message import Message
from worker.domain.optout import OPTOUT_WORDS, normalised
from worker.domain.push import Reply
from worker.domain.status import State
from worker.domain.submission import Recorded
from worker.inbound.process_push import process_push
from worker.ledger import tables as t
from worker.ledger.engine import reading
from worker.ledger.inbound import pushes
from worker.ledger.sending import accounts, gates, leave_out, message_queries, optouts
from worker.ledger.sending.optouts import OptOut, Undone

MINUTE = timedelta(minutes=1)


def sale(message_id: str, *to: str, **fields: object) -> Message:
    return message(message_id, *to, lane="marketing", **fields)


def opt_out(ledger: Ledger, *mobiles: str, account: str = "default", now: datetime = NOW) -> None:
    with ledger.engine.begin() as connection:
        said = [(to, "by phone", None) for to in mobiles]
        optouts.add(connection, ledger.account_ids[account], said, since=now, set_by="operator:alice")


def opted_out(ledger: Ledger) -> dict[str, tuple[object, ...]]:
    return {
        str(row["mobile"]): (row["since"], row["said_by"], row["why"], row["msg_id"]) for row in ledger.rows(t.optouts)
    }


def fates(ledger: Ledger) -> dict[str, dict[str, int]]:
    ids = [str(row["public_id"]) for row in ledger.rows(t.messages)]
    with reading(ledger.engine) as connection:
        return message_queries.counts_by_id(connection, ids)


def reasons(ledger: Ledger) -> dict[str, object]:
    """The reason of each recipient that was left out."""
    return {str(row["mobile"]): row["suppressed"] for row in ledger.rows(t.recipients) if row["suppressed"]}


@pytest.fixture
def two_accounts(ledger: Ledger) -> Ledger:
    with ledger.engine.begin() as connection:
        ledger.account_ids |= accounts.register(connection, ["shop"], first_msg_id=1, now=NOW)
    return ledger


# Replies.


def test_a_reply_of_an_optout_word_takes_its_mobile_off_marketing_with_when_and_in_what_words(ledger: Ledger) -> None:
    ledger.sent_to(mobile(1), mobile(2))
    ledger.push(reply_push((mobile(1), "100", " Ｔd。"), (mobile(2), "100", "TD多少钱")), NOW + MINUTE)
    assert opted_out(ledger) == {mobile(1): (NOW + MINUTE, "reply", " Ｔd。", "100")}


def test_the_words_are_those_of_the_settings(ledger: Ledger) -> None:
    ledger.sent_to(mobile(1), mobile(2))
    with ledger.engine.begin() as connection:
        body = reply_push((mobile(1), "1", "TD"), (mobile(2), "1", "QX")).encode()
        push_id = pushes.add(connection, body, source="127.0.0.1", received_at=NOW)
    process_push(ledger.engine, push_id, {ACCOUNT_KEYS: ledger.account_ids["default"]}, optout_words={normalised("qx")})
    assert list(opted_out(ledger)) == [mobile(2)]


def test_a_number_that_is_no_mobile_opts_out_of_nothing(ledger: Ledger) -> None:
    ledger.sent_to(mobile(1), mobile(2))
    ledger.push(reply_push(("10086", "1", "TD"), ("+86 " + mobile(1), "1", "TD")))
    assert list(opted_out(ledger)) == [mobile(1)]


def test_a_reply_of_a_mobile_that_the_account_never_sent_to_opts_nobody_out(two_accounts: Ledger) -> None:
    two_accounts.accept(message("a", mobile(1)), message("b", mobile(2), account="shop"))
    body = reply_push(*((mobile(n), "100", "TD") for n in range(1, 5)))
    two_accounts.push(body)
    assert list(opted_out(two_accounts)) == [mobile(1)]
    assert len(two_accounts.rows(t.replies)) == 4


def test_a_forged_reply_before_the_first_message_makes_no_later_one_a_repeat(ledger: Ledger) -> None:
    forged = reply_push((mobile(1), "100", "TD"))
    ledger.push(forged, NOW - MINUTE)
    ledger.sent_to(mobile(1))
    assert opted_out(ledger) == {}
    ledger.push(forged, NOW + MINUTE)
    assert list(opted_out(ledger)) == [mobile(1)]


def test_after_a_push_was_undone_who_says_so_himself_opts_out_at_once(ledger: Ledger) -> None:
    ledger.sent_to(mobile(1))
    body = reply_push((mobile(1), "100", "TD"))
    forged = ledger.push(body)
    with ledger.engine.begin() as connection:
        optouts.undo(connection, [forged], OPTOUT_WORDS, now=NOW)
    ledger.push(body, NOW + MINUTE)
    assert {to: since for to, (since, *_) in opted_out(ledger).items()} == {mobile(1): NOW + MINUTE}


def test_what_a_person_said_before_the_push_was_read_stays_when_that_is_undone(ledger: Ledger) -> None:
    ledger.sent_to(mobile(1))
    opt_out(ledger, mobile(1), now=NOW + MINUTE)
    push_id = ledger.push(reply_push((mobile(1), "100", "TD")), NOW)
    with ledger.engine.begin() as connection:
        assert optouts.undo(connection, [push_id], OPTOUT_WORDS, now=NOW) == Undone(0, 0)
    assert {set_by for _, set_by, *_ in opted_out(ledger).values()} == {"operator:alice"}


@pytest.mark.parametrize("ledger_url", ["postgresql"], indirect=True)
def test_who_undoes_a_push_waits_for_a_reply_that_was_found_to_repeat_it(ledger: Ledger) -> None:
    ledger.sent_to(mobile(1))
    body = reply_push((mobile(1), "100", "TD"))
    forged = ledger.push(body)
    with ThreadPoolExecutor(1) as pool, ledger.engine.begin() as processing:
        [reply] = pushes.add_replies(
            processing,
            ledger.account_ids["default"],
            [Reply(mobile(1), "100", "TD")],
            push_id=99,
            received_at=NOW + MINUTE,
        )
        assert optouts.find_new_replies(processing, [reply], received_at=NOW + MINUTE) == []

        def undo() -> Undone:
            with ledger.engine.begin() as connection:
                return optouts.undo(connection, [forged], OPTOUT_WORDS, now=NOW)

        undone = pool.submit(undo)
        while not processing.scalar(text("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted")):
            pass
        processing.commit()
    assert undone.result() == Undone(back=0, kept=1)


def test_whom_an_account_sent_to_is_found_by_the_index_in_one_statement(ledger: Ledger, statements: list[str]) -> None:
    ledger.accept(*(message(f"m{n}", mobile(0), mobile(n)) for n in range(1, 1000)))
    if ledger.engine.dialect.name == "postgresql":
        with ledger.engine.begin() as connection:
            connection.execute(text("ANALYZE"))
    with reading(ledger.engine) as connection:
        statements.clear()
        asked = [mobile(n) for n in (0, 7, 5000)]
        assert optouts.sent_to(connection, ledger.account_ids["default"], asked) == {mobile(0), mobile(7)}
        (statement,) = statements
    assert "EXISTS" in statement
    if ledger.engine.dialect.name == "postgresql":  # SQLite has no other way
        values = {"of_account": ledger.account_ids["default"], "mobiles": asked}
        plan = explained(ledger.engine, optouts._sent_to("postgresql"), **values)
        assert [line for line in plan if "ix_recipients_mobile" in line], plan


def test_a_push_that_opts_out_very_many_is_told_with_the_way_back(
    ledger: Ledger, caplog: pytest.LogCaptureFixture
) -> None:
    ledger.sent_to(*map(mobile, range(101)))
    usual = ledger.push(reply_push(*((mobile(n), "100", "TD") for n in range(100))))
    assert caplog.messages == []
    assert len(opted_out(ledger)) == 100
    with ledger.engine.begin() as connection:
        assert optouts.undo(connection, [usual], OPTOUT_WORDS, now=NOW) == Undone(100, 0)
    push_id = ledger.push(reply_push(*((mobile(n), "101", "退订") for n in range(101))), NOW + MINUTE)
    (warning,) = caplog.messages
    assert f"push {push_id}, from 127.0.0.1, opted 101 mobiles out" in warning
    assert f"`sms optout undo --push {push_id}`" in warning


def test_who_opted_out_by_a_push_that_is_undone_is_back_unless_he_says_so_later_or_a_person_does(
    ledger: Ledger,
) -> None:
    ledger.sent_to(*map(mobile, range(5)))
    ledger.push(reply_push((mobile(0), "100", "TD")), NOW - MINUTE)
    forged = ledger.push(reply_push(*((mobile(n), "100", "TD") for n in range(5))), NOW)
    later = ledger.push(reply_push((mobile(1), "100", "好"), (mobile(2), "100", "TD")), NOW + MINUTE)
    opt_out(ledger, mobile(3), now=NOW + MINUTE)
    with ledger.engine.begin() as connection:
        assert optouts.undo(connection, [forged], OPTOUT_WORDS, now=NOW) == Undone(back=2, kept=1)
        assert optouts.undo(connection, [forged], OPTOUT_WORDS, now=NOW) == Undone(back=0, kept=0)
    assert {to: since for to, (since, *_) in opted_out(ledger).items()} == {
        mobile(0): NOW - MINUTE,
        mobile(2): NOW + MINUTE,
        mobile(3): NOW,
    }
    # Nor does the opt-out come back by itself.
    process_push(ledger.engine, forged, {ACCOUNT_KEYS: ledger.account_ids["default"]}, optout_words=OPTOUT_WORDS)
    assert mobile(4) not in opted_out(ledger)
    assert {row["push_id"] for row in ledger.rows(t.optouts)} == {1, later, None}


def test_who_said_so_several_times_did_so_when_they_first_did(ledger: Ledger) -> None:
    ledger.sent_to(mobile(1), mobile(2))
    for minutes, word in ((40, "退订"), (0, "TD"), (120, "T")):
        ledger.push(reply_push((mobile(1), "100", word)), NOW + minutes * MINUTE)
    opt_out(ledger, mobile(1), now=NOW + MINUTE)
    assert opted_out(ledger) == {mobile(1): (NOW, "reply", "TD", "100")}


@pytest.mark.parametrize("turned", [False, True])
def test_of_two_replies_of_the_same_moment_the_same_one_is_kept_in_whatever_order_they_come(
    ledger: Ledger, turned: bool
) -> None:
    ledger.sent_to(mobile(1), mobile(2))
    # In an order of a language, which PostgreSQL would sort by, a small letter comes before a capital one.
    said = [(mobile(1), "100", "TD"), (mobile(1), "100", "td"), (mobile(1), "099", "td"), (mobile(1), "1", "退")]
    for reply in said[::-1] if turned else said:
        ledger.push(reply_push(reply))
    ledger.push(reply_push(*said))
    assert opted_out(ledger) == {mobile(1): (NOW, "reply", "TD", "100")}


def test_an_optout_that_a_person_removed_does_not_come_back_with_an_old_push(ledger: Ledger) -> None:
    ledger.sent_to(mobile(1), mobile(2))
    body = reply_push((mobile(1), "100", "TD"))
    push_id = ledger.push(body)
    with ledger.engine.begin() as connection:
        optouts.remove(connection, ledger.account_ids["default"], [mobile(1)])
        pushes.replay(connection, push_ids=[push_id], now=NOW + MINUTE)
    process_push(ledger.engine, push_id, {ACCOUNT_KEYS: ledger.account_ids["default"]}, optout_words=OPTOUT_WORDS)
    ledger.push(body, NOW + 10 * MINUTE)
    ledger.push(body, NOW + 39 * MINUTE)
    assert opted_out(ledger) == {}
    ledger.push(body, NOW + 80 * MINUTE)
    assert opted_out(ledger) == {mobile(1): (NOW + 80 * MINUTE, "reply", "TD", "100")}


def test_a_push_that_could_not_be_read_before_opts_out_once_it_can(ledger: Ledger) -> None:
    ledger.sent_to(mobile(1), mobile(2))
    other = {("1", "nobody"): ledger.account_ids["default"]}
    with ledger.engine.begin() as connection:
        body = reply_push((mobile(1), "100", "TD")).encode()
        push_id = pushes.add(connection, body, source="127.0.0.1", received_at=NOW)
    process_push(ledger.engine, push_id, other, optout_words=OPTOUT_WORDS)
    assert opted_out(ledger) == {}
    process_push(ledger.engine, push_id, {ACCOUNT_KEYS: ledger.account_ids["default"]}, optout_words=OPTOUT_WORDS)
    assert list(opted_out(ledger)) == [mobile(1)]


def test_a_push_whose_commit_fails_opts_nobody_out_until_it_is_tried_again(ledger: Ledger) -> None:
    ledger.sent_to(mobile(1), mobile(2))
    with ledger.engine.begin() as connection:
        body = reply_push((mobile(1), "100", "TD")).encode()
        push_id = pushes.add(connection, body, source="127.0.0.1", received_at=NOW)
    account = {ACCOUNT_KEYS: ledger.account_ids["default"]}
    with ledger.engine.begin() as connection:
        connection.execute(text("ALTER TABLE optouts RENAME TO elsewhere"))
    with pytest.raises(Exception, match="optouts"):
        process_push(ledger.engine, push_id, account, optout_words=OPTOUT_WORDS)
    with ledger.engine.begin() as connection:
        connection.execute(text("ALTER TABLE elsewhere RENAME TO optouts"))
    process_push(ledger.engine, push_id, account, optout_words=OPTOUT_WORDS)
    assert list(opted_out(ledger)) == [mobile(1)]


# Acceptance.


def test_who_opted_out_is_left_out_of_marketing_and_the_others_are_sent_to(ledger: Ledger) -> None:
    opt_out(ledger, mobile(1))
    ledger.accept(sale("m", mobile(1), mobile(2)))
    assert fates(ledger) == {"m": {"queued": 1, "suppressed": 1}}
    assert reasons(ledger) == {mobile(1): "optout"}
    assert [call.mobiles for call in ledger.pull(lane="marketing").claimed] == [(mobile(2),)]


def test_codes_and_notices_are_sent_to_who_opted_out_of_marketing(ledger: Ledger) -> None:
    opt_out(ledger, mobile(1))
    for lane in ("otp", "notice"):
        ledger.accept(message(lane, mobile(1), lane=lane))
        assert [call.mobiles for call in ledger.pull(lane=lane).claimed] == [(mobile(1),)]
    assert reasons(ledger) == {}


def test_a_message_to_none_but_those_who_opted_out_makes_no_call(ledger: Ledger) -> None:
    opt_out(ledger, mobile(1), mobile(2))
    ledger.accept(sale("m", mobile(1), mobile(2)))
    assert ledger.rows(t.submissions) == []
    assert fates(ledger) == {"m": {"suppressed": 2}}


def test_who_opted_out_of_one_account_hears_from_another(two_accounts: Ledger) -> None:
    opt_out(two_accounts, mobile(1), account="shop")
    two_accounts.accept(sale("m", mobile(1)), sale("n", mobile(1), mobile(2), account="shop"))
    assert fates(two_accounts) == {"m": {"queued": 1}, "n": {"queued": 1, "suppressed": 1}}


def test_who_opted_out_counts_towards_no_cap_and_finds_none_full(ledger: Ledger) -> None:
    lanes = LANES | {"marketing": replace(LANES["marketing"], caps=(Cap(1, 60),))}
    counted: list[CapKey] = []
    opt_out(ledger, mobile(1), mobile(2))
    ledger.accept(
        sale("m", mobile(1), mobile(2), mobile(3), mobile(4)),
        lanes=lanes,
        room=lambda wanted: {capped: 0 if capped.mobile in (mobile(2), mobile(4)) else 1 for capped in wanted},
        count=counted.extend,
    )
    assert [capped.mobile for capped in counted] == [mobile(3)]
    assert reasons(ledger) == {mobile(1): "optout", mobile(2): "optout", mobile(4): "cap"}


def test_optouts_cost_acceptance_one_statement_for_each_account_and_other_lanes_none(
    two_accounts: Ledger, statements: list[str]
) -> None:
    many = [mobile(n) for n in range(3000)]
    opt_out(two_accounts, *many[::3])
    statements.clear()
    two_accounts.accept(
        *(sale(f"m{n}", *many, content=f"第{n}") for n in range(2)), sale("n", *many[:5], account="shop")
    )
    assert len([statement for statement in statements if "optouts" in statement]) == 2
    assert fates(two_accounts) == {"n": {"queued": 5}} | {f"m{n}": {"queued": 2000, "suppressed": 1000} for n in (0, 1)}
    statements.clear()
    two_accounts.accept(message("o", *many), message("p", mobile(1), lane="otp"))
    assert [statement for statement in statements if "optouts" in statement] == []


# The moment of sending.


def test_an_optout_while_a_submission_waits_takes_that_mobile_alone_out_of_the_call(ledger: Ledger) -> None:
    ledger.accept(sale("m", mobile(1), mobile(2), mobile(3)))
    ledger.push(reply_push((mobile(2), "100", "TD")))
    (claimed,) = ledger.pull(lane="marketing").claimed
    assert sorted(claimed.mobiles) == [mobile(1), mobile(3)]
    assert fates(ledger) == {"m": {"submitting": 2, "suppressed": 1}}
    assert reasons(ledger) == {mobile(2): "optout"}
    assert [row["mobiles"] for row in ledger.rows(t.submissions)] == [2]


def test_when_the_last_of_its_recipients_opted_out_a_submission_is_cancelled(ledger: Ledger) -> None:
    ledger.accept(sale("m", mobile(1), mobile(2)), sale("n", mobile(3), content="别的"))
    opt_out(ledger, mobile(1), mobile(2))
    later = NOW + MINUTE
    assert [call.mobiles for call in ledger.pull(later, "marketing").claimed] == [(mobile(3),)]
    assert fates(ledger) == {"m": {"suppressed": 2}, "n": {"submitting": 1}}
    (cancelled,) = (row for row in ledger.rows(t.submissions) if row["state"] == "cancelled")
    assert (cancelled["mobiles"], cancelled["due_at"], cancelled["updated_at"]) == (0, None, later)


def test_several_messages_that_share_a_call_each_keep_who_is_left(ledger: Ledger) -> None:
    ledger.accept(*(sale(f"m{n}", mobile(n)) for n in range(3)))
    opt_out(ledger, mobile(1))
    (claimed,) = ledger.pull(lane="marketing").claimed
    assert sorted(claimed.mobiles) == [mobile(0), mobile(2)]
    assert fates(ledger) == {"m0": {"submitting": 1}, "m1": {"suppressed": 1}, "m2": {"submitting": 1}}


def test_an_optout_before_the_next_try_takes_its_mobile_out_of_that(ledger: Ledger) -> None:
    ledger.accept(sale("m", mobile(1), mobile(2)))
    (claimed,) = ledger.pull(lane="marketing").claimed
    ledger.record(Recorded(claimed.id, 1, State.HELD, NOW + MINUTE, None, "no connection"))
    opt_out(ledger, mobile(1))
    assert [call.mobiles for call in ledger.pull(NOW + MINUTE, "marketing").claimed] == [(mobile(2),)]


def test_what_is_resent_may_have_been_taken_and_keeps_its_recipients(ledger: Ledger) -> None:
    ledger.accept(sale("m", mobile(1), mobile(2)))
    (claimed,) = ledger.pull(lane="marketing").claimed
    ledger.record(Recorded(claimed.id, 1, State.HELD, NOW + MINUTE, None, None, resent=True))
    opt_out(ledger, mobile(1))
    (again,) = ledger.pull(NOW + MINUTE, "marketing").claimed
    assert sorted(again.mobiles) == [mobile(1), mobile(2)]


def test_an_optout_after_the_call_changes_nothing_of_what_was_sent(ledger: Ledger) -> None:
    ledger.accept(sale("m", mobile(1)))
    (claimed,) = ledger.pull(lane="marketing").claimed
    ledger.record(Recorded(claimed.id, 1, State.ACCEPTED, None, "1", "成功"))
    ledger.push(reply_push((mobile(1), str(claimed.msg_id), "TD")))
    ledger.push(status_push((mobile(1), claimed.msg_id, 1)))
    assert fates(ledger) == {"m": {"delivered": 1}}


def test_who_opted_out_hears_codes_and_notices_that_waited(ledger: Ledger, statements: list[str]) -> None:
    for lane in ("otp", "notice"):
        ledger.accept(message(lane, mobile(1), lane=lane))
        opt_out(ledger, mobile(1))
        statements.clear()
        assert [call.mobiles for call in ledger.pull(lane=lane).claimed] == [(mobile(1),)]
        assert [statement for statement in statements if "optouts" in statement] == []


def test_optouts_cost_a_pull_of_marketing_one_statement_where_nobody_opted_out(
    ledger: Ledger, statements: list[str]
) -> None:
    ledger.accept(*(sale(f"m{n}", mobile(n), content=f"第{n}") for n in range(100)))
    opt_out(ledger, mobile(999))
    statements.clear()
    assert len(ledger.pull(lane="marketing").claimed) == 100
    assert len([statement for statement in statements if "optouts" in statement]) == 1


def test_a_closed_gate_is_probed_by_the_first_submission_that_has_somebody_left(ledger: Ledger) -> None:
    for n, to in enumerate(([1], [2], [1, 3])):
        ledger.accept(sale(f"m{n}", *map(mobile, to)), now=NOW + timedelta(seconds=n))
    with ledger.engine.begin() as connection:
        account_id = ledger.account_ids["default"]
        gates.close(connection, account_id, "account: -3", now=NOW, until=NOW + MINUTE)
    opt_out(ledger, mobile(1), mobile(2))
    (probe,) = ledger.claim_probe(NOW + MINUTE)
    assert probe.mobiles == (mobile(3),)
    assert fates(ledger) == {"m0": {"suppressed": 1}, "m1": {"suppressed": 1}, "m2": {"submitting": 1, "suppressed": 1}}
    assert ledger.claim_probe(NOW + MINUTE + PROBE_AGAIN) == []


def test_who_opts_out_while_submissions_are_pulled_is_either_called_or_left_out_and_never_both(ledger: Ledger) -> None:
    mobiles = [mobile(n) for n in range(300)]
    for n in range(100):
        ledger.accept(sale(f"m{n:03}", *mobiles[3 * n : 3 * n + 3], content=f"第{n}"))
    called: list[str] = []
    began = Event()

    def pull(_: int) -> None:
        for call in ledger.pull(lane="marketing", most=5).claimed:
            called.extend(call.mobiles)
        began.set()

    def reply(n: int) -> None:
        began.wait(30)
        ledger.push(reply_push((mobile(n), "100", "TD")))

    with ThreadPoolExecutor(6) as threads:
        # In turns, so that neither is done before the other begins.
        work = [threads.submit(job, n) for n in range(0, 300, 10) for job in (pull, reply)]
        for future in work:
            future.result()
    while more := ledger.pull(lane="marketing").claimed:
        called.extend(to for call in more for to in call.mobiles)
    left_out = set(reasons(ledger))
    assert sorted([*called, *left_out]) == mobiles
    assert left_out <= set(opted_out(ledger))


def explained(engine: Engine, statement: Any, **values: object) -> list[str]:
    """The plan by which the database finds the rows."""
    asked = statement.params(**values).compile(engine, compile_kwargs={"literal_binds": True})
    explain = "EXPLAIN " if engine.dialect.name == "postgresql" else "EXPLAIN QUERY PLAN "
    with engine.connect() as connection:
        return [str(row[-1]) for row in connection.exec_driver_sql(explain + str(asked))]


def test_who_opted_out_is_found_by_the_indexes_however_many_opted_out(ledger: Ledger) -> None:
    ledger.accept(*(sale(f"m{n}", *(mobile(50 * n + k) for k in range(50)), content=f"第{n}") for n in range(100)))
    with ledger.engine.begin() as connection:
        row = {"account_id": ledger.account_ids["default"], "since": NOW, "said_by": "x", "why": "x"}
        connection.execute(insert(t.optouts), [row | {"mobile": mobile(10_000 + n)} for n in range(30_000)])
        connection.execute(text("ANALYZE"))
    plan = explained(ledger.engine, leave_out._WITH_OPTOUTS, ids=list(range(1, 51)))
    gone_through = [step for step in plan if "Seq Scan" in step or step.startswith("SCAN")]
    assert not [step for step in gone_through if "submissions" not in step], plan
    assert any("ix_recipients_submission_id" in step for step in plan), plan
    assert any("pk_optouts" in step or "sqlite_autoindex_optouts_1" in step for step in plan), plan


# What is kept.


def test_the_optouts_are_listed_the_newest_first_counted_and_gone_through(two_accounts: Ledger) -> None:
    opt_out(two_accounts, mobile(1), now=NOW)
    opt_out(two_accounts, mobile(2), mobile(3), account="shop", now=NOW + MINUTE)
    first = OptOut("default", mobile(1), NOW, "operator:alice", "by phone", None)
    with reading(two_accounts.engine) as connection:
        newest = optouts.newest(connection, limit=2)
        assert [optout.mobile for optout in newest] == [mobile(3), mobile(2)]
        assert optouts.newest(connection, limit=9, account="default") == [first]
        assert optouts.newest(connection, limit=9, mobile=mobile(1)) == [first]
        assert len(optouts.newest(connection, limit=9, since=NOW + MINUTE)) == 2
        assert [optouts.count(connection), optouts.count(connection, account="shop")] == [3, 2]
        assert [optout.mobile for optout in optouts.every(connection)] == [mobile(1), mobile(2), mobile(3)]
        assert list(optouts.every(connection, account="default")) == [first]


def test_thousands_of_optouts_are_gone_through_in_pages_each_once(ledger: Ledger, statements: list[str]) -> None:
    opt_out(ledger, *map(mobile, range(2500)))
    statements.clear()
    with reading(ledger.engine) as connection:
        assert [optout.mobile for optout in optouts.every(connection)] == [mobile(n) for n in range(2500)]
    assert len(statements) == 3
    with ledger.engine.begin() as connection:
        account_id = ledger.account_ids["default"]
        asked = [mobile(n) for n in range(1250, 20_000)]
        assert optouts.opted_out(connection, account_id, asked) == {mobile(n) for n in range(1250, 2500)}
        optouts.remove(connection, account_id, asked)
        assert optouts.count(connection) == 1250

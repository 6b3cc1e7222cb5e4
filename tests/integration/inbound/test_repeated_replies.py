"""The gateway repeats replies: which of them are the same reply, and which are another."""

from collections import Counter
from datetime import timedelta
from itertools import product

from ledger_driver import ACCOUNT_KEYS, NOW, Ledger, mobile, reply_push

from worker.domain.optout import OPTOUT_WORDS
from worker.domain.push import REPEAT_WINDOW, Reply
from worker.domain.push import first_replies as domain_first_replies
from worker.inbound.process_push import process_push
from worker.ledger import tables as t
from worker.ledger.sending import accounts


def test_a_reply_in_another_push_within_half_an_hour_is_the_same_reply(ledger: Ledger) -> None:
    ledger.push(reply_push((mobile(1), "7", "1")))
    ledger.push(reply_push((mobile(1), "7", "1")), NOW + timedelta(minutes=29))
    assert len(ledger.rows(t.first_replies)) == 1


def test_a_reply_that_is_twice_in_one_push_is_twice_and_the_push_again_adds_nothing(ledger: Ledger) -> None:
    for _ in range(3):
        ledger.push(reply_push((mobile(1), "7", "1"), (mobile(1), "7", "1")))
    assert len(ledger.rows(t.first_replies)) == 2


def test_the_same_words_an_hour_later_are_another_reply(ledger: Ledger) -> None:
    ledger.push(reply_push((mobile(1), "7", "1")))
    ledger.push(reply_push((mobile(1), "7", "1")), NOW + timedelta(hours=1))
    assert len(ledger.rows(t.first_replies)) == 2


def test_replies_that_repeat_each_other_are_one_reply_however_long_it_goes_on(ledger: Ledger) -> None:
    for minutes in (40, 0, 20):
        ledger.push(reply_push((mobile(1), "7", "1")), NOW + timedelta(minutes=minutes))
    assert [row["received_at"] for row in ledger.rows(t.first_replies)] == [NOW]


def test_the_view_and_the_domain_say_the_same_of_replies_to_the_microsecond(ledger: Ledger) -> None:
    micro = timedelta(microseconds=1)
    gaps = [timedelta(0), micro, *(REPEAT_WINDOW + offset * micro for offset in (-600, -1, 0, 1, 600))]
    begins = [NOW + fraction * micro for fraction in (0, 1, 499_999, 500_000, 999_500, 999_999)]
    came = [
        (at, [Reply(mobile(number), "7", "T")])
        for number, (begin, gap) in enumerate(product(begins, gaps))
        for at in (begin + gap, begin)
    ]
    for at, [reply] in came:
        ledger.push(reply_push((reply.mobile, reply.msg_id, reply.content)), at)
    shown = [(row["received_at"], row["mobile"]) for row in ledger.rows(t.first_replies)]
    assert sorted(shown) == [(at, reply.mobile) for at, reply in domain_first_replies(came)]


def test_the_same_reply_to_two_accounts_is_two_replies(ledger: Ledger) -> None:
    with ledger.engine.begin() as connection:
        ids = accounts.register(connection, ["default", "other"], first_msg_id=100, now=NOW)
    body = reply_push((mobile(1), "7", "1"))
    for name in ("default", "other"):
        process_push(ledger.engine, ledger.push(body), {ACCOUNT_KEYS: ids["default"]}, optout_words=OPTOUT_WORDS)
        push_id = ledger.push(body.replace("sword123", name))
        process_push(ledger.engine, push_id, {("1", name): ids[name]}, optout_words=OPTOUT_WORDS)
    assert Counter(row["account_id"] for row in ledger.rows(t.first_replies)) == Counter(ids.values())

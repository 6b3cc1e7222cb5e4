"""The reports and replies of a push are written many rows at a time: no row is lost or changed."""

import pytest
from ledger_driver import Ledger, mobile, reply_push, status_push

from worker.ledger import tables as t


def test_more_reports_than_go_into_one_statement_are_each_kept_once(ledger: Ledger) -> None:
    items = [(mobile(number % 50), 1 + number // 50, -1 if number % 7 == 0 else 1) for number in range(2500)]
    for pushed_items in (items, items[::-1], items[1200:] + items[:1300]):
        ledger.push(status_push(*pushed_items))
    said = {1: "delivered", -1: "undelivered"}
    assert sorted((row["mobile"], row["msg_id"], row["status"]) for row in ledger.rows(t.reports)) == sorted(
        (to, msg_id, said[status]) for to, msg_id, status in items
    )


@pytest.mark.parametrize(
    "content", ["", "NULL", "{a,b}", '"', "\\", "'", "%s :x", "一\n二\t三", "好的👍", "x" * 10_000]
)
def test_a_reply_is_kept_to_the_letter(ledger: Ledger, content: str) -> None:
    ledger.push(reply_push((mobile(1), "7", content), (mobile(2), "7", "1")))
    assert [row["content"] for row in ledger.rows(t.replies)] == [content, "1"]


def test_of_a_field_that_is_there_twice_the_first_counts(ledger: Ledger) -> None:
    ledger.push(status_push((mobile(1), 7, 1)).replace("<msgId>", "<other/><msgId> 5 </msgId><msgId>"))
    assert [(row["mobile"], row["msg_id"]) for row in ledger.rows(t.reports)] == [(mobile(1), 5)]

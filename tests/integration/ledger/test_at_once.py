"""Many at once, as threads and as processes: each thing is done once, and nobody waits for ever."""

import multiprocessing
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing.synchronize import Barrier

from ledger_driver import ACCOUNT_KEYS, LEASE, NOW, Ledger, message, mobile, reply_push, status_push
from sqlalchemy import Engine

from worker.domain.optout import OPTOUT_WORDS
from worker.inbound.process_push import process_push
from worker.ledger import tables as t
from worker.ledger.engine import open_engine
from worker.ledger.inbound import pushes
from worker.ledger.sending import claims

PROCESSES = 5

_start: Barrier | None = None


def remember(start: Barrier) -> None:
    global _start  # noqa: PLW0603 - how a pool hands a barrier to its processes
    _start = start


def claim_in_threads(ledger_url: str, submission_id: int) -> int:
    """How many of ten claims this process wins."""
    engine = open_engine(ledger_url)

    def claim(_: int) -> int:
        with engine.begin() as connection:
            return len(claims.claim(connection, [submission_id], now=NOW, lease=LEASE))

    assert _start is not None
    _start.wait(60)
    with ThreadPoolExecutor(10) as threads:
        won = sum(threads.map(claim, range(10)))
    engine.dispose()
    return won


def test_of_50_threads_of_5_processes_that_claim_one_submission_one_wins(ledger: Ledger, ledger_url: str) -> None:
    (submission_id,) = ledger.accept(message("m"))["m"]
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(PROCESSES, context, remember, (context.Barrier(PROCESSES),)) as pool:
        won = list(pool.map(claim_in_threads, [ledger_url] * PROCESSES, [submission_id] * PROCESSES))
    assert sum(won) == 1


def process_at_once(ledger: Ledger, push_ids: list[int]) -> None:
    account_ids = {ACCOUNT_KEYS: ledger.account_ids["default"]}
    with ThreadPoolExecutor(len(push_ids)) as threads:
        list(
            threads.map(
                lambda push_id: process_push(ledger.engine, push_id, account_ids, optout_words=OPTOUT_WORDS), push_ids
            )
        )


def kept(engine: Engine, *bodies: str) -> list[int]:
    """Keeps pushes that nobody has read. Returns their ids."""
    with engine.begin() as connection:
        return [pushes.add(connection, body.encode(), source="127.0.0.1", received_at=NOW) for body in bodies]


def test_a_push_that_eight_process_at_once_takes_effect_once(ledger: Ledger) -> None:
    twice = reply_push((mobile(1), "7", "T"), (mobile(1), "7", "T"))
    for push_id in kept(ledger.engine, status_push((mobile(1), 7, 1), (mobile(1), 7, -1)), twice):
        process_at_once(ledger, [push_id] * 8)
    assert (len(ledger.rows(t.reports)), len(ledger.rows(t.replies)), len(ledger.rows(t.first_replies))) == (2, 2, 2)


def test_copies_of_a_push_that_are_processed_at_once_take_effect_once(ledger: Ledger) -> None:
    process_at_once(ledger, kept(ledger.engine, *[reply_push((mobile(1), "7", "T"), (mobile(2), "7", "T"))] * 8))
    assert len(ledger.rows(t.first_replies)) == 2


def test_pushes_with_the_same_items_in_opposite_order_do_not_block_each_other(ledger: Ledger) -> None:
    items = [(mobile(n), n % 7, 1) for n in range(2500)]
    said = [(mobile(n), "7", "T") for n in range(2500)]
    there, back = (status_push(*items), reply_push(*said)), (status_push(*items[::-1]), reply_push(*said[::-1]))
    process_at_once(ledger, kept(ledger.engine, *there, *back, *there, *back))
    assert (len(ledger.rows(t.reports)), len(ledger.rows(t.first_replies))) == (2500, 2500)

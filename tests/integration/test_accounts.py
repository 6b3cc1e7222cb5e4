"""Accounts in the ledger: what starting costs them, and that nobody waits for a row of theirs."""

from collections.abc import Iterator

import pytest
from ledger_of import NOW, Ledger, message
from sqlalchemy import Engine, make_url

from worker.domain.push import StatusReport
from worker.domain.status import Report
from worker.ledger import accounts, pushes
from worker.ledger.engine import open_engine
from worker.ledger.tables import messages, metadata, submissions


@pytest.fixture
def postgres(postgres_url: str) -> Iterator[Engine]:
    """An empty ledger on PostgreSQL. A statement that waits two seconds for a lock fails."""
    engine = open_engine(make_url(postgres_url).update_query_dict({"options": "-c lock_timeout=2s"}))
    yield engine
    engine.dispose()


def reports(first_msg_id: int) -> list[StatusReport]:
    return [StatusReport("13800000001", first_msg_id + n, Report.DELIVERED) for n in range(2000)]


def test_reports_that_are_being_kept_do_not_delay_who_reserves_msg_ids(postgres: Engine) -> None:
    ledger = Ledger(postgres)
    account_id = ledger.account_ids["default"]
    with postgres.begin() as keeping:
        no = pushes.add(keeping, b"", source="127.0.0.1", received_at=NOW)
        pushes.add_reports(keeping, account_id, reports(0), push_no=no, received_at=NOW)
        with postgres.begin() as reserving:
            assert len(accounts.reserve_msg_ids(reserving, account_id)) == accounts.BLOCK


def test_who_reserves_msg_ids_does_not_delay_reports(postgres: Engine) -> None:
    account_id = Ledger(postgres).account_ids["default"]
    with postgres.begin() as reserving:
        accounts.reserve_msg_ids(reserving, account_id)
        with postgres.begin() as keeping:
            no = pushes.add(keeping, b"", source="127.0.0.1", received_at=NOW)
            pushes.add_reports(keeping, account_id, reports(0), push_no=no, received_at=NOW)


def test_messages_that_are_being_accepted_do_not_delay_who_reserves_msg_ids(postgres: Engine) -> None:
    ledger = Ledger(postgres)
    ledger.accept(message("m"))
    with postgres.begin() as accepting:
        for table, other in ((messages, {"id": "n"}), (submissions, {"msg_id": 7})):
            row = ledger.rows(table)[0] | other
            del row["no"]
            accepting.execute(table.insert(), row)
        with postgres.begin() as reserving:
            accounts.reserve_msg_ids(reserving, ledger.account_ids["default"])


def test_no_row_that_comes_by_the_thousand_refers_to_one_that_all_of_them_share() -> None:
    """Each insert would lock that row, and of a row that many lock at once PostgreSQL keeps a list: the numbers of those run out."""
    references = {
        (key.parent.table.name, key.column.table.name) for t in metadata.tables.values() for key in t.foreign_keys
    }
    assert references == {
        ("recipients", "messages"),
        ("recipients", "submissions"),
        ("campaigns", "audiences"),
        ("runs", "campaigns"),
    }


def test_a_process_that_starts_uses_up_no_number_for_an_account(engine: Engine) -> None:
    first = Ledger(engine).account_ids
    for _ in range(20):
        with engine.begin() as connection:
            assert accounts.register(connection, ["default"], first_msg_id=1, now=NOW) == first
    with engine.begin() as connection:
        both = accounts.register(connection, ["default", "shop"], first_msg_id=1, now=NOW)
    assert both == first | {"shop": first["default"] + 1}

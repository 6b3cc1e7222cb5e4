"""Accounts in the ledger: what the start of a worker costs them, and that nobody waits for their rows. What is in
flight stays theirs where they are renamed, changed or removed.
"""

from collections.abc import Iterator
from datetime import timedelta

import pytest
from campaign_driver import Campaigns, window_of
from ledger_driver import NOW, Ledger, message
from sqlalchemy import Engine, make_url

from worker.campaigns.feed import FeedOutcome
from worker.campaigns.start_due import start_due
from worker.domain.push import StatusReport
from worker.domain.status import Report
from worker.ledger import tables as t
from worker.ledger.engine import open_engine
from worker.ledger.inbound import pushes
from worker.ledger.sending import accounts
from worker.ledger.sending.accounts import RenamedAccount

Keys = dict[str, tuple[int, str]]


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
        push_id = pushes.add(keeping, b"", source="127.0.0.1", received_at=NOW)
        pushes.add_reports(keeping, account_id, reports(0), push_id=push_id, received_at=NOW)
        with postgres.begin() as reserving:
            assert len(accounts.reserve_msg_ids(reserving, account_id)) == accounts.BLOCK


def test_who_reserves_msg_ids_does_not_delay_reports(postgres: Engine) -> None:
    account_id = Ledger(postgres).account_ids["default"]
    with postgres.begin() as reserving:
        accounts.reserve_msg_ids(reserving, account_id)
        with postgres.begin() as keeping:
            push_id = pushes.add(keeping, b"", source="127.0.0.1", received_at=NOW)
            pushes.add_reports(keeping, account_id, reports(0), push_id=push_id, received_at=NOW)


def test_messages_that_are_being_accepted_do_not_delay_who_reserves_msg_ids(postgres: Engine) -> None:
    ledger = Ledger(postgres)
    ledger.accept(message("m"))
    with postgres.begin() as accepting:
        for table, other in ((t.messages, {"public_id": "n"}), (t.submissions, {"msg_id": 7})):
            row = ledger.rows(table)[0] | other
            del row["id"]
            accepting.execute(table.insert(), row)
        with postgres.begin() as reserving:
            accounts.reserve_msg_ids(reserving, ledger.account_ids["default"])


def test_no_row_that_comes_by_the_thousand_refers_to_one_that_all_of_them_share() -> None:
    """Each insert would lock that row. PostgreSQL keeps a list of those who lock a row at once, and the numbers of
    these lists run out.
    """
    references = {
        (key.parent.table.name, key.column.table.name)
        for table in t.metadata.tables.values()
        for key in table.foreign_keys
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


def started(engine: Engine, settings: Keys) -> dict[str, int]:
    """Does what a worker does with its accounts when it starts. Returns the id of each account of its settings."""
    with engine.begin() as connection:
        accounts.refuse_renames(connection, settings)
        numbers = accounts.register(connection, settings, first_msg_id=100, now=NOW)
        accounts.note_credentials(connection, settings)
    return {name: numbers[name] for name in settings}


@pytest.mark.parametrize("settings", [{"a": (2, "u")}, {"a": (2, "u"), "b": (1, "u")}, {"a": (1, "u"), "c": (2, "u")}])
def test_another_name_for_an_account_is_refused_and_nothing_changes(engine: Engine, settings: Keys) -> None:
    before = started(engine, {"a": (1, "u"), "b": (2, "u")})
    with pytest.raises(
        RenamedAccount, match=r"account '[ac]' has the eprId and userId of 'b' in the ledger: call it 'b' again"
    ):
        started(engine, settings)
    assert started(engine, {"a": (1, "u"), "b": (2, "u")}) == before


def test_an_account_of_an_older_ledger_is_known_by_its_name_and_then_by_its_credentials(engine: Engine) -> None:
    with engine.begin() as connection:
        before = accounts.register(connection, ["a"], first_msg_id=100, now=NOW)
    assert started(engine, {"a": (1, "u")}) == before
    with pytest.raises(RenamedAccount):
        started(engine, {"b": (1, "u")})


def test_credentials_that_changed_under_the_same_name_are_the_same_account(
    engine: Engine, caplog: pytest.LogCaptureFixture
) -> None:
    before = started(engine, {"a": (1, "typo")})
    assert started(engine, {"a": (1, "u")}) == before
    assert "another eprId or userId now" in caplog.text


def test_starting_again_with_the_same_accounts_writes_nothing(engine: Engine, statements: list[str]) -> None:
    started(engine, {"a": (1, "u")})
    statements.clear()
    started(engine, {"a": (1, "u")})
    assert not [statement for statement in statements if statement.startswith("UPDATE")]


def test_a_campaign_whose_account_no_worker_has_is_paused_with_the_reason(ledger: Ledger) -> None:
    campaign = Campaigns(ledger)
    campaign.audience(3)
    campaign.start()
    start_due(campaign.engine, window=window_of, now=NOW)
    [run] = campaign.runs()
    assert campaign.feed(run.id, own_accounts={"shop"}, known_accounts={"shop"}) is FeedOutcome.ENOUGH
    [row] = ledger.rows(t.campaigns)
    assert row["state"] == "paused"
    assert "no worker has the account 'default': put it back into the settings, then resume" in str(row["reason"])
    assert ledger.rows(t.messages) == []
    campaign.resume()
    campaign.feed(run.id, NOW + timedelta(seconds=1))
    assert len(ledger.rows(t.messages)) == 1


@pytest.mark.parametrize("anywhere", [None, {"shop", "default"}])
def test_a_campaign_whose_account_only_other_workers_have_is_left_to_them(
    ledger: Ledger, anywhere: set[str] | None
) -> None:
    campaign = Campaigns(ledger)
    campaign.audience(3)
    campaign.start()
    start_due(campaign.engine, window=window_of, now=NOW)
    [run] = campaign.runs()
    assert campaign.feed(run.id, own_accounts={"shop"}, known_accounts=anywhere) is FeedOutcome.NOT_HERE
    assert [row["state"] for row in ledger.rows(t.campaigns)] == ["active"]
    assert ledger.rows(t.messages) == []

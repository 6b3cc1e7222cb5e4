"""An error of the ledger says what went wrong and in which statement, but never a value of the statement."""

import logging
import threading
from collections.abc import Iterator

import pytest
from ledger_driver import NOW, Ledger, message
from sqlalchemy import Engine, make_url, text
from sqlalchemy.exc import DBAPIError

from worker.ledger.engine import open_engine, reading
from worker.ledger.errors import retried

CODE, TO = "您的验证码是 804217", "13911112222"
SECRETS = "804217", "1391111", "2222"
log = logging.getLogger(__name__)


@pytest.fixture
def talkative(postgres_url: str) -> Iterator[Engine]:
    """A ledger on a PostgreSQL that puts the values of a statement into its errors."""
    wordy = "-c log_parameter_max_length_on_error=-1"
    engine = open_engine(make_url(postgres_url).update_query_dict({"options": wordy}))
    yield engine
    engine.dispose()


def test_what_is_logged_of_a_connection_that_is_dropped_in_a_statement_has_no_text_and_no_mobile(
    talkative: Engine, postgres_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    ledger = Ledger(talkative)
    ledger.msg_ids.take(ledger.account_ids["default"], 1)
    other = open_engine(postgres_url)
    dropped: list[BaseException] = []

    def accept() -> None:
        try:
            retried(ledger.accept, lambda _seconds: True)(message("m", TO, content=CODE, lane="otp"))
        except DBAPIError as error:
            log.exception("a task failed")
            dropped.append(error)

    with other.begin() as holding, reading(other) as looking:
        holding.execute(text("LOCK TABLE messages IN SHARE MODE"))
        accepting = threading.Thread(target=accept)
        accepting.start()
        ended = text(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE wait_event_type = 'Lock' AND query LIKE 'INSERT INTO messages%'"
        )
        while looking.execute(ended).first() is None:
            accepting.join(0.01)
        accepting.join()
    other.dispose()
    assert dropped
    assert "INSERT INTO messages" in caplog.text
    assert "terminating connection" in caplog.text
    assert not [secret for secret in SECRETS if secret in caplog.text]
    assert not [secret for secret in SECRETS if secret in repr(dropped)]


@pytest.mark.parametrize(
    ("sql", "says"),
    [
        (
            "INSERT INTO refused VALUES (:v, '', '', now()), (:v, '', '', now())",
            "violates unique constraint .pk_refused",
        ),
        ("INSERT INTO accounts VALUES (1, :v, 1, 'ajar', '', now())", "violates check constraint .ck_accounts_gate"),
        ("SELECT CAST(CAST(:v AS text) AS timestamptz)", r"InvalidDatetimeFormat\) a value does not fit.* 22007"),
        ("SELECT CAST(substr(CAST(:v AS text), 1, 11) AS smallint)", r"NumericValueOutOfRange\) a value does not fit"),
        ("SELECT CAST(:v AS text)::json", r"InvalidTextRepresentation\) a value does not fit"),
        ("SELEC :v", "syntax error at or near .SELEC"),
    ],
)
def test_what_postgresql_itself_says_is_kept_without_the_values(
    talkative: Engine, caplog: pytest.LogCaptureFixture, sql: str, says: str
) -> None:
    with pytest.raises(DBAPIError, match=says) as failed, talkative.begin() as connection:
        connection.execute(text(sql), {"v": f"{TO} {CODE}"})
    log.error("a task failed", exc_info=failed.value)
    assert not [secret for secret in SECRETS if secret in caplog.text]


def test_what_a_violated_constraint_is_told_by_has_no_value_on_either_database(
    engine: Engine, caplog: pytest.LogCaptureFixture
) -> None:
    row = {"id": TO, "faults": CODE, "payload": CODE, "now": NOW.isoformat()}
    with pytest.raises(DBAPIError) as failed, engine.begin() as connection:
        connection.execute(text("INSERT INTO refused VALUES (:id, :faults, :payload, :now)"), [row, row])
    log.error("a task failed", exc_info=failed.value)
    assert "INSERT INTO refused" in caplog.text
    assert not [secret for secret in SECRETS if secret in caplog.text]

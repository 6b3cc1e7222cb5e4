"""A ledger of an older version, with something in it, is brought up to date."""

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from operator import itemgetter
from pathlib import Path

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from ledger_driver import NOW, Ledger, mobile, reply_push
from sqlalchemy import Connection, Engine, inspect, select, text
from sqlalchemy.exc import IntegrityError, OperationalError

from worker.ledger import schema
from worker.ledger import tables as t
from worker.ledger.engine import open_engine
from worker.ledger.sending import accounts

Row = tuple[int, datetime, str]
"""A reply in a ledger: the number of its push, when that came, and what it says."""


def go_back(engine: Engine, version: str) -> None:
    """Puts an empty ledger of that version in place of the empty one that is there; one without tables for `base`."""
    config = Config()
    config.set_main_option("script_location", str(Path(schema.__file__).parent / "migrations"))
    with engine.begin() as connection:
        for view in ("recipient_status", "first_replies"):
            connection.execute(text(f"DROP VIEW {view}"))
        t.metadata.drop_all(connection)
        connection.execute(text("DROP TABLE alembic_version"))
        config.attributes["connection"] = connection
        if version != "base":
            command.upgrade(config, version)


def keep_as_0001_did(connection: Connection, rows: Iterable[Row]) -> None:
    """Adds pushes with replies, in the order in which version 0001 kept them."""
    zone = "+00" if connection.dialect.name == "postgresql" else ""
    replies = [(push_no, f"{at:%Y-%m-%d %H:%M:%S.%f}{zone}", content) for push_no, at, content in rows]
    connection.execute(
        text("INSERT INTO accounts (id, name, next_msg_id, gate, gate_since) VALUES (1, 'default', 100, 'open', :now)"),
        {"now": replies[0][1]},
    )
    connection.execute(
        text("INSERT INTO pushes (no, received_at, source, body, state) VALUES (:no, :at, 's', '', 'processed')"),
        [{"no": push_no, "at": at} for push_no, at in sorted({(push_no, at) for push_no, at, _ in replies})],
    )
    if zone:  # PostgreSQL has not counted those numbers
        connection.execute(text("SELECT setval('pushes_no_seq', 100)"))
    connection.execute(
        text(
            "INSERT INTO replies (account_id, mobile, msg_id, content, push_no, received_at)"
            " VALUES (1, :mobile, '7', :content, :no, :at)"
        ),
        [{"mobile": mobile(1), "content": content, "no": push_no, "at": at} for push_no, at, content in replies],
    )


def test_replies_of_version_0001_are_all_there_and_still_known_when_they_come_again(engine: Engine) -> None:
    go_back(engine, "0001")
    late = NOW + timedelta(minutes=20, microseconds=999_999)
    rows = [
        (1, NOW, "退订"),
        (1, NOW, "T"),
        (1, NOW, "T"),
        # Its push held three: two were there.
        (2, late, "T"),
        (3, NOW + timedelta(hours=2), "T"),
        *((4, NOW, f"{n}") for n in range(2100)),
    ]
    with engine.begin() as connection:
        keep_as_0001_did(connection, rows)
    schema.migrate(engine)
    schema.check(engine)
    with engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), t.metadata) == []
    ledger = Ledger(engine)
    before = shown(ledger)
    assert [(row["push_id"], row["received_at"], row["content"]) for row in before] == rows
    assert {row["id"]: row["nth"] for row in ledger.rows(t.replies) if row["content"] == "T"} == {
        2: 1,
        3: 2,
        4: 3,
        5: 1,
    }
    ledger.push(reply_push(*((mobile(1), "7", content) for content in ("T", "T", "T", "退订", "2099"))), late)
    assert shown(ledger) == before


def shown(ledger: Ledger) -> list[dict[str, object]]:
    return sorted(ledger.rows(t.first_replies), key=itemgetter("id"))


def test_recipients_of_version_0003_keep_their_submissions_and_others_may_have_none(engine: Engine) -> None:
    go_back(engine, "0003")
    zone = "+00" if engine.dialect.name == "postgresql" else ""
    now = {"now": f"{NOW:%Y-%m-%d %H:%M:%S.%f}{zone}"}
    with engine.begin() as connection:
        for statement in KEPT_BY_0003.split(";"):
            connection.execute(text(statement), now)
        before = connection.execute(text("SELECT * FROM recipient_status ORDER BY mobile")).mappings().all()
    schema.migrate(engine)
    schema.check(engine)
    with engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), t.metadata) == []
        assert {index["name"] for index in inspect(connection).get_indexes("recipients")} == {
            "ix_recipients_mobile",
            "ix_recipients_submission_id",
        }
        assert {key["name"] for key in inspect(connection).get_foreign_keys("recipients")} == {
            "fk_recipients_message_id",
            "fk_recipients_submission_id",
        }
        assert inspect(connection).get_pk_constraint("recipients")["name"] == "pk_recipients"
        after = connection.execute(text("SELECT * FROM recipient_status ORDER BY mobile")).mappings().all()
    renamed = [{"message_id": row["message_no"]} | dict(row) | {"suppressed": None} for row in before]
    assert [{key: row[key] for key in row if key != "message_no"} for row in renamed] == [dict(row) for row in after]
    assert [row["status"] for row in after] == ["delivered", "accepted"]
    with pytest.raises(IntegrityError), engine.begin() as connection:
        connection.execute(text(f"INSERT INTO recipients (message_id, mobile) VALUES (1, '{mobile(3)}')"))
    with engine.begin() as connection:
        connection.execute(
            text(f"INSERT INTO recipients (message_id, mobile, suppressed) VALUES (1, '{mobile(3)}', 'cap')")
        )
    assert Ledger(engine).statuses() == {mobile(1): "delivered", mobile(2): "accepted", mobile(3): "suppressed"}


def test_the_numbers_that_starts_of_version_0005_used_up_are_there_again(engine: Engine) -> None:
    go_back(engine, "0005")
    account = (
        "INSERT INTO accounts (name, next_msg_id, gate, gate_since) VALUES (:name, 1, 'open', '2026-11-22 04:00:00')"
        " ON CONFLICT (name) DO NOTHING"
    )
    with engine.begin() as connection:
        for name in ("default", "shop", *["default"] * 1000):
            connection.execute(text(account), {"name": name})
    schema.migrate(engine)
    with engine.begin() as connection:
        numbers = accounts.register(connection, ["default", "shop", "new"], first_msg_id=1, now=NOW)
    assert numbers == {"default": 1, "shop": 2, "new": 3}


def test_a_migration_gives_way_to_those_who_use_the_ledger_and_is_done_once_they_are_through(postgres_url: str) -> None:
    engine, other = open_engine(postgres_url), open_engine(postgres_url)
    go_back(engine, "0005")
    using = other.connect()
    using.execute(text("SELECT * FROM submissions"))

    def nobody_waits(_seconds: float) -> None:
        with engine.connect() as connection:
            connection.execute(text("SET lock_timeout = '1ms'"))
            connection.execute(text("SELECT * FROM submissions"))
        using.close()

    schema.migrate(engine, pause=nobody_waits)
    schema.check(engine)
    engine.dispose()
    other.dispose()


WAITS = """
SELECT count(*) FROM pg_stat_activity
WHERE datname = current_database() AND wait_event_type = 'Lock' AND query LIKE '%INDEX CONCURRENTLY%'
"""


def test_large_indexes_are_built_beside_those_who_write_and_one_that_was_broken_off_is_built_anew(
    postgres_url: str,
) -> None:
    engine, other, third = (open_engine(postgres_url) for _ in range(3))
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        for _, index in t.BUILT_BESIDE:
            connection.execute(text(f"DROP INDEX {index.name}"))
        connection.execute(text("SET statement_timeout = '1s'"))
        with other.begin() as writing:
            writing.execute(text("LOCK recipients IN ROW EXCLUSIVE MODE"))
            with pytest.raises(OperationalError):  # it waits for a writer, and is broken off
                connection.execute(text("CREATE INDEX CONCURRENTLY ix_recipients_mobile ON recipients (mobile)"))
    writing = other.connect()
    writing.execute(text("LOCK recipients IN ROW EXCLUSIVE MODE"))
    with ThreadPoolExecutor(1) as pool:
        migrated = pool.submit(schema.migrate, engine)
        with third.connect() as connection:
            while not connection.scalar(text(WAITS)):
                connection.rollback()
            # The process that builds the index waits already; nobody waits behind it.
            connection.execute(text("SET lock_timeout = '1ms'"))
            connection.execute(text("LOCK recipients IN ROW EXCLUSIVE MODE"))
            connection.rollback()
        writing.close()
        migrated.result()
    with engine.connect() as connection:
        query = "SELECT indexrelid::regclass::text FROM pg_index WHERE indisvalid"
        assert {index.name for _, index in t.BUILT_BESIDE} <= set(connection.execute(text(query)).scalars())
    engine.dispose()
    other.dispose()
    third.dispose()


def test_a_migration_that_finds_the_ledger_in_use_says_by_whom_and_changes_nothing(postgres_url: str) -> None:
    engine, other = open_engine(postgres_url), open_engine(postgres_url)
    go_back(engine, "0005")
    with other.connect() as using:
        pid = using.scalar(text("SELECT pg_backend_pid() FROM submissions RIGHT JOIN (SELECT 1) AS one ON true"))
        with pytest.raises(schema.LedgerInUse, match=rf"process {pid} of the database \(sms-worker\).*\n.*try again"):
            schema.migrate(engine, pause=lambda _: True)
    assert schema.version(engine) == "0005"
    engine.dispose()
    other.dispose()


def test_what_version_0005_held_after_its_campaign_was_cancelled_is_cancelled(engine: Engine) -> None:
    go_back(engine, "0005")
    zone = "+00" if engine.dialect.name == "postgresql" else ""
    now = {"now": f"{NOW:%Y-%m-%d %H:%M:%S.%f}{zone}"}
    with engine.begin() as connection:
        for statement in KEPT_BY_0005.split(";"):
            connection.execute(text(statement), now)
    schema.migrate(engine)
    with engine.connect() as connection:
        query = select(t.submissions.c.id, t.submissions.c.state, t.submissions.c.called_off).order_by(
            t.submissions.c.id
        )
        assert [tuple(row) for row in connection.execute(query)] == [
            (1, "cancelled", True),
            (2, "unknown", True),
            (3, "submitting", True),
            (4, "accepted", False),
            (5, "held", False),
        ]


def test_columns_are_not_renamed_under_a_worker_that_has_yet_to_record_a_call(engine: Engine) -> None:
    go_back(engine, "0009")
    until = datetime.now(UTC) + timedelta(minutes=1)
    with engine.begin() as connection:
        connection.execute(text(A_CALL_OF_0009), {"until": until})
    sentence = rf"calls to the gateway are under way \(1\).*\nStop the workers.* again after {until:%H:%M:%S} UTC"
    with pytest.raises(schema.LedgerInUse, match=sentence):
        schema.migrate(engine, pause=lambda _: True)
    assert schema.version(engine) == "0009"
    with engine.begin() as connection:
        connection.execute(text("UPDATE submissions SET due_at = '2026-11-22 04:00:00' WHERE no = 7"))
    schema.migrate(engine)
    assert [row["id"] for row in Ledger(engine).rows(t.submissions)] == [7]


@pytest.mark.parametrize("begun_at", [None, "0009"], ids=["an empty ledger", "a ledger of 0009"])
def test_of_migrations_that_are_run_at_once_each_ends_well(postgres_url: str, begun_at: str | None) -> None:
    engines = [open_engine(postgres_url) for _ in range(3)]
    go_back(engines[0], begun_at or "base")
    with ThreadPoolExecutor(3) as threads:
        list(threads.map(schema.migrate, engines))
    schema.check(engines[0])
    for engine in engines:
        engine.dispose()


def test_on_postgresql_every_name_of_an_upgraded_ledger_is_that_of_a_new_one(postgres_url: str) -> None:
    engine = open_engine(postgres_url)
    query = text("""
        SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace
        UNION ALL SELECT conname FROM pg_constraint
        WHERE connamespace = 'public'::regnamespace AND contype <> 'n'
    """)
    with engine.connect() as connection:
        assert [name for name in connection.execute(query).scalars() if name.endswith("_no") or "_no_" in name] == []
    engine.dispose()


A_CALL_OF_0009 = """
INSERT INTO submissions
    (no, account_id, lane, msg_id, state, caller, mobiles, due_at, expires_at, attempt, resent, called_off, updated_at)
VALUES (7, 1, 'notice', 1, 'submitting', 'app', 1, :until, :until, 1, false, false, :until)
"""

KEPT_BY_0005 = """
INSERT INTO accounts (id, name, next_msg_id, gate, gate_since) VALUES (1, 'default', 100, 'open', :now);
INSERT INTO audiences VALUES (1, 'people', 'f', '[]', 'm', true, 1, 0, 0, :now, 'alice');
INSERT INTO campaigns (no, name, account_id, lane, audience_no, content, state, since, said_by, time_zone, leftover, missed,
    created_at, created_by)
VALUES (1, 'c', 1, 'marketing', 1, 't', 'cancelled', :now, 'alice', 'UTC', 'expire', 'late', :now, 'alice');
INSERT INTO runs (no, campaign_no, due_at, state, stage, line, made, refused, opens_at, started_at)
VALUES (7, 1, :now, 'cancelled', 'rest', 9, 9, 0, :now, :now);
INSERT INTO submissions (no, account_id, lane, msg_id, state, caller, mobiles, due_at, expires_at, attempt, resent, updated_at)
VALUES
    (1, 1, 'marketing', 1, 'held', 'campaign/7', 1, :now, :now, 1, false, :now),
    (2, 1, 'marketing', 2, 'held', 'campaign/7', 1, :now, :now, 1, true, :now),
    (3, 1, 'marketing', 3, 'submitting', 'campaign/7', 1, :now, :now, 1, false, :now),
    (4, 1, 'marketing', 4, 'accepted', 'campaign/7', 1, NULL, :now, 1, false, :now),
    (5, 1, 'marketing', 5, 'held', 'campaign/77', 1, :now, :now, 1, false, :now)
"""

KEPT_BY_0003 = f"""
INSERT INTO accounts (id, name, next_msg_id, gate, gate_since) VALUES (1, 'default', 100, 'open', :now);
INSERT INTO messages (no, id, account_id, lane, content, created_at, accepted_at)
VALUES (1, 'm', 1, 'notice', '您好', :now, :now);
INSERT INTO submissions (no, account_id, lane, msg_id, state, caller, mobiles, expires_at, attempt, resent, updated_at)
VALUES (1, 1, 'notice', 7, 'accepted', '', 2, :now, 1, false, :now);
INSERT INTO recipients (message_no, mobile, submission_no) VALUES (1, '{mobile(1)}', 1), (1, '{mobile(2)}', 1);
INSERT INTO reports (account_id, msg_id, mobile, status, said_by, received_at)
VALUES (1, 7, '{mobile(1)}', 'delivered', 'somebody', :now)
"""

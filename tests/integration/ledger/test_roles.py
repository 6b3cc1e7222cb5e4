"""The roles of a ledger on PostgreSQL: each can do its own work, by the functions for it, and no more."""

import re
import time
from collections.abc import Iterator
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from ipaddress import ip_network
from pathlib import Path

import pytest
from campaign_driver import Campaigns
from ledger_driver import NOW, Ledger, message, mobile, reply_push, status_push
from roles_driver import as_role, make_and_migrate
from sqlalchemy import Engine, func, select, text
from sqlalchemy.exc import OperationalError

from attack.ledger_users import CHANGES, SCHEMA, SERVER
from callback_app.app import create_app
from callback_app.inbox import open_inbox
from worker.devstack.errors import StackError
from worker.devstack.stack import running_stack
from worker.domain.status import State
from worker.domain.submission import Recorded
from worker.ledger import backlog, health, retention, roles, schema
from worker.ledger import tables as t
from worker.ledger.campaigns import audiences, campaigns, runs
from worker.ledger.campaigns.figures import campaign_figures, walks
from worker.ledger.campaigns.recipients import recipient_rows
from worker.ledger.engine import NOT_PERMITTED, open_engine, reading
from worker.ledger.inbound import push_queries, pushes
from worker.ledger.roles import RIGHTS, SEQUENCES
from worker.ledger.sending import accounts, gates, message_queries, optouts, unknown

TOKEN = "0123456789abcdef"


@pytest.fixture(scope="module")
def url(postgres_uri: str) -> Iterator[str]:
    """A ledger with roles, and with something in most of its tables."""
    name = f"roles_{time.monotonic_ns()}"
    admin = open_engine(postgres_uri)
    with reading(admin) as connection:
        connection.execute(text(f"CREATE DATABASE {name} TEMPLATE template_ledger"))
    url = postgres_uri.replace("/postgres?", f"/{name}?")
    make_and_migrate(url)
    with as_role(url, "worker") as engine:
        fill(engine)
    yield url
    with reading(admin) as connection:
        connection.execute(text(f"DROP DATABASE {name} WITH (FORCE)"))
    admin.dispose()


def fill(engine: Engine) -> None:
    """Does what a worker and `sms` do in a day. The role `worker` needs the right to each of these statements."""
    ledger = Ledger(engine)
    ids_by_message = ledger.accept(message("a", mobile(1), mobile(2)), message("b", mobile(3), lane="otp"))
    for claimed in ledger.claim(
        [submission_id for submission_ids in ids_by_message.values() for submission_id in submission_ids]
    ):
        ledger.record(Recorded(claimed.id, claimed.attempt, State.ACCEPTED, None, "1", None))
        ledger.push(status_push(*((to, claimed.msg_id, 1) for to in claimed.mobiles)))
    ledger.push(reply_push((mobile(1), "7", "退订"), (mobile(2), "8", "谢谢")))
    ledger.push("<none")
    revoked = ledger.push(reply_push((mobile(4), "9", "hello")))
    ledger.expire(NOW + timedelta(days=3))
    campaign = Campaigns(ledger)
    campaign.audience(3)
    campaign.start()
    campaign.tick()
    with engine.begin() as connection:
        optouts.add(connection, 1, [(mobile(9), "by phone", None)], since=NOW, set_by="alice")
        optouts.remove(connection, 1, [mobile(9)])
        unknown.accept_reported(connection, now=NOW)
        retention.wipe_codes(connection)
        retention.wipe_bodies(connection, before=NOW)
        retention.wipe_quarantined(connection, most_bytes=10**9, before=NOW)
        retention.forget_refused(connection, before=NOW)
        assert pushes.revoke(connection, revoked, by="alice", now=NOW) == (set(), 1)
        gates.close(connection, 1, "wrong password", until=NOW, now=NOW)


@pytest.fixture
def admin(url: str) -> Iterator[Engine]:
    engine = open_engine(url)
    yield engine
    engine.dispose()


EXPLODED = text("""
    SELECT c.relname, coalesce(a.attname, ''), e.privilege_type, CASE e.grantee WHEN 0 THEN 'PUBLIC' ELSE e.grantee::regrole::text END
    FROM pg_class c
    LEFT JOIN (
        SELECT attrelid, attname, attacl FROM pg_attribute WHERE attacl IS NOT NULL
        UNION ALL SELECT oid, NULL, relacl FROM pg_class
    ) a ON a.attrelid = c.oid
    CROSS JOIN aclexplode(coalesce(a.attacl, acldefault('r', c.relowner))) e
    WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'v', 'm', 'p', 'S')
""")
"""The rights of each role on tables, views, sequences and their columns, as PostgreSQL has them."""

Right = tuple[str, str, str, str]


def written() -> set[Right]:
    """The rights in RIGHTS, in the same form."""
    grants: set[Right] = set()
    for table, rights in RIGHTS.items():
        for role, said in asdict(rights).items():
            for right, columns in re.findall(r"([A-Z]+)(?: \(([^)]*)\))?", said):
                grants |= {(table, column, right, role) for column in columns.split(", ")}
            if "INSERT" in said and table in SEQUENCES:
                grants.add((SEQUENCES[table], "", "USAGE", role))
    return grants


def test_each_role_has_the_rights_that_are_written_and_no_others(admin: Engine) -> None:
    with reading(admin) as connection:
        names = {name: role for role, name in roles.current_role_names(connection).items()}
        grants = {(*which, names.get(who, who)) for *which, who in connection.execute(EXPLODED).all()}
    assert {right for right in grants if right[-1] != "owner"} == written()


def test_every_table_view_and_sequence_has_its_line_and_is_the_owners(admin: Engine) -> None:
    query = text(
        "SELECT relname, relkind::text, pg_get_userbyid(relowner) FROM pg_class WHERE relnamespace = 'public'::regnamespace"
    )
    with reading(admin) as connection:
        owner = roles.current_role_names(connection)["owner"]
        rows = connection.execute(query).all()
    assert {name for name, kind, _ in rows if kind in "rvmp"} == RIGHTS.keys()
    assert {name for name, kind, _ in rows if kind == "S"} == set(SEQUENCES.values())
    assert {who for *_, who in rows} == {owner}


def test_nobody_else_may_connect_or_use_the_schema(admin: Engine) -> None:
    with admin.begin() as connection:
        connection.execute(text("CREATE ROLE passer_by"))
        may = connection.execute(
            text("""
                SELECT has_database_privilege('passer_by', current_database(), 'CONNECT')
                    OR has_database_privilege('passer_by', current_database(), 'TEMPORARY')
                    OR has_schema_privilege('passer_by', 'public', 'USAGE')
                    OR has_schema_privilege('passer_by', 'public', 'CREATE')
            """)
        ).scalar_one()
        connection.rollback()
    assert not may


def test_a_right_that_an_older_postgresql_does_not_know_is_left_out_there() -> None:
    rights = RIGHTS["members"].worker
    assert roles.supported(rights, (17, 0)) == rights
    assert roles.supported(rights, (16, 9)) == "SELECT, INSERT, DELETE"


def refused(url: str, role: str, statement: str) -> None:
    with as_role(url, role) as engine, pytest.raises(OperationalError) as why, reading(engine) as connection:
        connection.exec_driver_sql(statement)
    assert getattr(why.value.orig, "sqlstate", None) == NOT_PERMITTED, why.value


WITHHELD = {
    "web": ["pushes.body", "refused.payload", "members.fields"],
    "readonly": [
        "messages.content", "messages.metadata", "replies.content", "replies.digest", "first_replies.content",
        "campaigns.content", "audiences.header", "audiences.source", "refused.payload", "refused.faults", "pushes.body", "pushes.source || reason", "optouts.why", "members.fields",
    ],
}  # fmt: skip


@pytest.mark.parametrize("what", SERVER)
@pytest.mark.parametrize("role", roles.ROLES)
def test_postgresql_lets_no_role_out_of_its_ledger(url: str, role: str, what: str) -> None:
    superuser = open_engine(url)
    with reading(superuser) as connection:
        connection.execute(text("SELECT 1"))
        refused(url, role, SERVER[what])
    superuser.dispose()


@pytest.mark.parametrize("what", SCHEMA)
@pytest.mark.parametrize("role", ["worker", "callback", "web", "readonly"])
def test_postgresql_lets_nobody_but_the_owner(url: str, role: str, what: str) -> None:
    refused(url, role, SCHEMA[what])


@pytest.mark.parametrize("what", CHANGES)
@pytest.mark.parametrize("role", ["callback", "web", "readonly"])
def test_postgresql_lets_nobody_but_a_worker(url: str, role: str, what: str) -> None:
    refused(url, role, CHANGES[what])


@pytest.mark.parametrize("other", roles.ROLES)
@pytest.mark.parametrize("role", roles.ROLES)
def test_no_role_becomes_another(url: str, role: str, other: str) -> None:
    if role != other:
        refused(url, role, f"SET ROLE {roles.role_names(str(open_engine(url).url.database))[other]}")


@pytest.mark.parametrize(
    "table", [*sorted(RIGHTS.keys() - {"pushes"}), "(SELECT body FROM pushes)", "(SELECT state FROM pushes)"]
)
def test_the_callback_app_reads_nothing_of_what_is_kept(url: str, table: str) -> None:
    refused(url, "callback", f"SELECT count(*) FROM {table} AS it")


def test_the_callback_app_does_not_choose_the_number_of_a_push(url: str) -> None:
    values = "(id, received_at, source, body, state, due_at) VALUES (1, now(), '', '', 'received', now())"
    refused(url, "callback", f"INSERT INTO pushes {values}")


@pytest.mark.parametrize("role", ["web", "readonly"])
@pytest.mark.parametrize("table", ["pushes", "optouts", "marks", "refused", "members", "audiences"])
def test_a_role_that_only_reads_adds_nothing(url: str, role: str, table: str) -> None:
    refused(url, role, f"INSERT INTO {table} DEFAULT VALUES")


@pytest.mark.parametrize(("role", "column"), [(role, column) for role, those in WITHHELD.items() for column in those])
def test_texts_are_kept_from_roles_that_do_not_need_them(url: str, role: str, column: str) -> None:
    table, _, name = column.partition(".")
    refused(url, role, f"SELECT {name} FROM {table}")


@pytest.mark.parametrize("role", roles.ROLES)
def test_no_role_may_connect_to_another_ledger_of_the_server(url: str, postgres_url: str, role: str) -> None:
    make_and_migrate(postgres_url)
    ours, other = open_engine(url).url, open_engine(postgres_url).url
    engine = open_engine(other.set(username=roles.role_names(str(ours.database))[role]))
    with pytest.raises(OperationalError, match="permission denied for database"):
        engine.connect()
    engine.dispose()


def test_a_worker_does_what_workers_and_the_sms_command_do(url: str) -> None:
    with as_role(url, "worker") as engine:
        schema.check(engine)
        health.check_writable(engine)
        assert health.ledger_time(engine)
        ledger = Ledger(engine)
        assert ledger.statuses()[mobile(3)] == "delivered"
        assert [mark["name"] for mark in ledger.rows(roles.metadata.tables["marks"])] == ["settle"]
        with engine.begin() as connection:
            assert accounts.ids(connection) == {"default": 1}
            assert backlog.quarantined_pushes(connection) == 1
            assert optouts.opted_out(connection, 1, [mobile(1), mobile(9)]) == {mobile(1)}


def test_what_a_worker_imports_is_analyzed_and_can_be_removed(url: str, admin: Engine) -> None:
    with as_role(url, "worker") as engine:
        Campaigns(Ledger(engine)).audience(10, name="others")
        with engine.begin() as connection:
            others = audiences.find(connection, "others")
            assert others is not None
            assert audiences.claim(connection, others.id, last=NOW, now=datetime.now(UTC))
            assert audiences.remove_part(connection, others.id)
    with reading(admin) as connection:
        analyzed = text("SELECT reltuples FROM pg_class WHERE relname = 'members'")
        assert connection.execute(analyzed).scalar_one() >= 10


def test_the_callback_app_keeps_a_push_and_is_ready(url: str, redis_url: str) -> None:
    with as_role(url, "callback") as engine:
        app = create_app(
            open_inbox(engine, redis_url, hourly_bytes=10**6), tokens=[TOKEN], allow=[ip_network("127.0.0.0/8")]
        ).test_client()
        assert app.get("/readyz").json == {"ledger": "ok", "redis": "ok"}
        assert app.post(f"/push/{TOKEN}", data=b"a push of the callback app").data == b"SUCCESS"
    with as_role(url, "worker") as engine, reading(engine) as connection:
        kept = select(t.pushes.c.state).where(t.pushes.c.body == b"a push of the callback app")
        assert connection.execute(kept).scalars().all() == ["received"]


def test_a_console_shows_messages_replies_pushes_and_campaigns(url: str) -> None:
    with as_role(url, "web") as engine:
        schema.check(engine)
        with reading(engine) as connection:
            view = message_queries.find(connection, "a")
            assert view is not None
            assert (view.content, view.counts) == ("您好", {"delivered": 2})
            assert len(message_queries.recipients(connection, view.row_id)) == 2
            assert message_queries.sent_with(connection, view.row_id).caller is None
            assert message_queries.newest(connection, limit=10)
            assert {reply.content for reply in push_queries.newest_replies(connection, limit=10)} == {"退订", "谢谢"}
            assert push_queries.newest(connection, limit=10, state="quarantined")
            assert optouts.newest(connection, limit=10)
            assert [audience.name for audience in audiences.listed(connection)][-1] == "people"
            assert unknown.newest(connection, unknown.UnknownFilter(), limit=10) == []
            assert [gate.is_open for gate in gates.gates(connection)] == [False]
            assert backlog.waiting(connection, overdue_since=NOW)
            assert backlog.refused(connection, since=NOW) == 0
            [campaign] = campaigns.listed(connection, limit=10)
            of_campaign = runs.listed(connection, campaign.id)
            walks(connection, [campaign])
            campaign_figures(connection, campaign, of_campaign, report_wait=timedelta(hours=72), now=NOW)
            assert list(recipient_rows(connection, of_campaign))


def test_an_analyst_counts_what_was_sent_and_what_came_of_it(url: str) -> None:
    with as_role(url, "readonly") as engine, reading(engine) as connection:
        of_lane = select(t.submissions.c.lane, func.count()).group_by(t.submissions.c.lane)
        assert {"otp", "notice"} <= {lane for lane, _ in connection.execute(of_lane)}
        delivered = select(func.count()).where(t.recipient_status.c.status == "delivered")
        assert connection.execute(delivered).scalar_one() == 3
        for table in ("messages", "replies", "first_replies", "pushes", "refused", "optouts", "members", "campaigns"):
            assert connection.execute(text(f"SELECT count(*) FROM {table}")).scalar_one() >= (table != "refused")


def test_a_stack_does_not_change_the_passwords_of_another_installation(url: str, tmp_path: Path) -> None:
    with pytest.raises(StackError, match="the roles of another installation"), running_stack(tmp_path, ledger_url=url):
        pass


@pytest.mark.parametrize("role", roles.ROLES)
@pytest.mark.parametrize("statement", ["SELECT lo_from_bytea(0, 'x')", "SELECT lo_create(0)", "SELECT lo_creat(-1)"])
def test_no_role_makes_a_large_object_which_no_table_would_show(url: str, role: str, statement: str) -> None:
    refused(url, role, statement)

"""`sms migrate --roles`: a ledger of one user gets roles, whoever owned it and whoever uses it meanwhile."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from ledger_driver import NOW, Ledger, message, mobile
from roles_driver import as_role, make_and_migrate
from sms_command import sms_process
from sqlalchemy import create_engine, make_url, text
from sqlalchemy.exc import OperationalError
from test_migrations import go_back

from worker.ledger import roles, schema
from worker.ledger import tables as t
from worker.ledger.engine import open_engine, reading
from worker.ledger.inbound import pushes
from worker.ledger.roles import role_names

PASSWORDS = {role: f"password-of-{role}-4711" for role in roles.ROLES}


@pytest.fixture
def secrets(postgres_url: str, tmp_path: Path) -> Path:
    """A file for each role, as deploy/make-secrets makes them."""
    names = role_names(str(make_url(postgres_url).database))
    for role, name in names.items():
        (tmp_path / f"ledger_url_{role}").write_text(f"postgresql://{name}:{PASSWORDS[role]}@postgres:5432/sms\n")
    return tmp_path


def test_a_ledger_of_one_user_is_handed_over_with_all_that_is_in_it(postgres_url: str) -> None:
    before = open_engine(postgres_url)
    Ledger(before).accept(message("m", mobile(1)))
    before.dispose()
    make_and_migrate(postgres_url)
    with as_role(postgres_url, "worker") as engine:
        ledger = Ledger(engine)
        assert ledger.accept(message("n", mobile(2)))
        assert ledger.statuses().keys() == {mobile(1), mobile(2)}


def test_a_ledger_of_an_ordinary_user_is_handed_over_too(postgres_url: str) -> None:
    admin = open_engine(postgres_url)
    name = f"old_{time.monotonic_ns()}"
    with admin.begin() as connection:
        connection.execute(text(f"CREATE ROLE {name} LOGIN"))
        for (table,) in connection.execute(text("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")).all():
            connection.execute(text(f"ALTER TABLE {table} OWNER TO {name}"))
    make_and_migrate(postgres_url)
    old = open_engine(make_url(postgres_url).set(username=name))
    with pytest.raises(OperationalError, match="permission denied"):
        old.connect()
    old.dispose()
    with admin.begin() as connection:
        owned = text(f"SELECT count(*) FROM pg_class WHERE pg_get_userbyid(relowner) = '{name}'")
        assert connection.execute(owned).scalar_one() == 0
    admin.dispose()


def test_the_owner_migrates_a_ledger_of_an_older_version_and_gives_the_rights_to_what_is_new(postgres_url: str) -> None:
    admin = open_engine(postgres_url)
    go_back(admin, "0005")
    schema.make_roles(admin, {})
    with as_role(postgres_url, "owner") as owner:
        schema.migrate(owner)
        schema.check(owner)
    with as_role(postgres_url, "worker") as engine:
        assert Ledger(engine).rows(t.marks)
    admin.dispose()


def test_what_a_superuser_migrates_is_the_owners_all_the_same(postgres_url: str) -> None:
    admin = open_engine(postgres_url)
    go_back(admin, "0005")
    schema.make_roles(admin, {})
    schema.migrate(admin)
    with reading(admin) as connection:
        query = text(
            "SELECT DISTINCT pg_get_userbyid(relowner) FROM pg_class WHERE relnamespace = 'public'::regnamespace"
        )
        assert list(connection.execute(query).scalars()) == [roles.current_role_names(connection)["owner"]]
    admin.dispose()


def test_nobody_but_the_owner_migrates(postgres_url: str) -> None:
    make_and_migrate(postgres_url)
    with (
        as_role(postgres_url, "worker") as engine,
        pytest.raises(OperationalError, match="permission denied to set role"),
    ):
        schema.migrate(engine)


def test_who_needs_no_console_may_drop_its_role_and_still_migrates(postgres_url: str) -> None:
    make_and_migrate(postgres_url)
    admin = open_engine(postgres_url)
    with admin.begin() as connection:
        web = roles.current_role_names(connection)["web"]
        connection.execute(text(f"DROP OWNED BY {web}"))
        connection.execute(text(f"DROP ROLE {web}"))
    admin.dispose()
    with as_role(postgres_url, "owner") as owner:
        schema.migrate(owner)


def test_a_ledger_without_roles_is_migrated_as_ever(postgres_url: str) -> None:
    engine = open_engine(postgres_url)
    go_back(engine, "0005")
    schema.migrate(engine)
    schema.check(engine)
    with reading(engine) as connection:
        assert not roles.have_roles(connection)
    engine.dispose()


def test_rights_are_given_while_others_use_the_tables(postgres_url: str) -> None:
    make_and_migrate(postgres_url)
    with as_role(postgres_url, "worker") as worker, as_role(postgres_url, "owner") as owner, worker.begin() as using:
        using.execute(text("LOCK TABLE marks IN ROW EXCLUSIVE MODE"))
        using.execute(text("SELECT * FROM submissions FOR UPDATE"))
        schema.migrate(owner, pause=lambda _: True)


def test_to_hand_over_gives_way_to_those_who_use_the_ledger_and_changes_nothing_meanwhile(postgres_url: str) -> None:
    admin, other = open_engine(postgres_url), open_engine(postgres_url)

    def the_others_are_through(_seconds: float) -> None:
        with reading(admin) as connection:
            assert not roles.have_roles(connection)
        using.close()

    using = other.connect()
    using.execute(text("SELECT * FROM submissions"))
    schema.make_roles(admin, {}, pause=the_others_are_through)
    with reading(admin) as connection:
        assert roles.have_roles(connection)
    admin.dispose()
    other.dispose()


def test_migrate_tells_the_owner_whose_dump_is_in_its_way(postgres_url: str) -> None:
    admin = open_engine(postgres_url)
    go_back(admin, "0005")
    schema.make_roles(admin, {})
    with as_role(postgres_url, "owner") as owner, admin.connect() as dump:
        pid = dump.scalar(text("SELECT pg_backend_pid() FROM submissions RIGHT JOIN (SELECT 1) AS one ON true"))
        with pytest.raises(schema.LedgerInUse, match=rf"oldest transaction is \d+ s old, of process {pid} "):
            schema.migrate(owner, pause=lambda _: True)
    admin.dispose()


@pytest.fixture
def asked_for_passwords(postgres_url: str) -> Iterator[None]:
    """The server asks all but its superuser for a password, in this database alone."""
    admin = open_engine(postgres_url)
    with reading(admin) as connection:
        rules = Path(connection.execute(text("SHOW hba_file")).scalar_one())
        database = admin.url.database
        before = rules.read_text()
        rules.write_text(f"local {database} postgres trust\nlocal {database} all scram-sha-256\n{before}")
        connection.execute(text("SELECT pg_reload_conf()"))
        yield
        rules.write_text(before)
        connection.execute(text("SELECT pg_reload_conf()"))
    admin.dispose()


def connects(url: str, role: str, password: str) -> bool:
    parts = make_url(url)
    engine = create_engine(parts.set(username=role_names(str(parts.database))[role], password=password))
    try:
        engine.connect().close()
    except OperationalError as error:
        assert "password authentication failed" in str(error)
        return False
    finally:
        engine.dispose()
    return True


@pytest.mark.usefixtures("asked_for_passwords")
def test_the_roles_connect_with_the_passwords_of_their_files_which_no_log_and_no_output_shows(
    postgres_url: str, secrets: Path
) -> None:
    admin = open_engine(postgres_url)
    with reading(admin) as connection:
        connection.execute(text(f"ALTER DATABASE {admin.url.database} SET log_statement = 'all'"))
        log = Path(connection.execute(text("SHOW data_directory")).scalar_one(), "log")
    done = sms_process("migrate", "--roles", secrets, SMS_LEDGER_URL=postgres_url)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.endswith(f"now run `sms migrate` as {admin.url.database}_owner, which gives them their rights\n")
    said = log.read_text(errors="replace")
    assert f"ALTER ROLE {admin.url.database}_worker PASSWORD 'SCRAM-SHA-256$" in said
    assert not [password for password in PASSWORDS.values() if password in said + done.stdout]
    assert {role: connects(postgres_url, role, PASSWORDS[role]) for role in PASSWORDS} == dict.fromkeys(PASSWORDS, True)
    assert not connects(postgres_url, "worker", PASSWORDS["callback"])
    admin.dispose()


def test_made_again_the_roles_have_new_passwords_and_the_rights_that_they_had(postgres_url: str, secrets: Path) -> None:
    make_and_migrate(postgres_url)
    (secrets / "ledger_url_web").unlink()
    done = sms_process("migrate", "--roles", secrets, SMS_LEDGER_URL=postgres_url)
    assert done.returncode == 0
    assert "_web was given no password" in done.stdout
    with as_role(postgres_url, "worker") as engine:
        schema.check(engine)


@pytest.mark.parametrize(
    "content", ["nonsense", "postgresql://{}@postgres/sms", "postgresql://sms:s3cret@postgres/sms"]
)
def test_a_file_with_another_user_or_without_a_password_is_refused_and_nothing_is_made(
    postgres_url: str, secrets: Path, content: str
) -> None:
    name = role_names(str(make_url(postgres_url).database))["callback"]
    (secrets / "ledger_url_callback").write_text(content.format(name))
    done = sms_process("migrate", "--roles", secrets, SMS_LEDGER_URL=postgres_url)
    assert (done.returncode, done.stdout) == (1, "")
    assert str(secrets / "ledger_url_callback") in done.stderr
    assert "s3cret" not in done.stderr
    engine = open_engine(postgres_url)
    with reading(engine) as connection:
        assert not roles.have_roles(connection)
    engine.dispose()


def test_a_user_who_is_not_a_superuser_is_told_so(postgres_url: str, tmp_path: Path) -> None:
    make_and_migrate(postgres_url)
    owner = make_url(postgres_url).set(username=role_names(str(make_url(postgres_url).database))["owner"])
    done = sms_process("migrate", "--roles", tmp_path, SMS_LEDGER_URL=owner.render_as_string(hide_password=False))
    assert done.returncode == 1
    assert "is not a superuser of PostgreSQL; --roles needs one" in done.stderr
    assert "Traceback" not in done.stderr


def test_sqlite_has_no_roles_and_says_so(sqlite_url: str, tmp_path: Path) -> None:
    done = sms_process("migrate", "--roles", tmp_path, SMS_LEDGER_URL=sqlite_url)
    assert (done.returncode, done.stdout) == (1, "")
    assert "SQLite has no users" in done.stderr


def test_a_former_owner_of_the_database_neither_comes_back_nor_puts_functions_in_the_way(postgres_url: str) -> None:
    superuser, name = open_engine(postgres_url), make_url(postgres_url).database
    with reading(superuser) as connection:
        connection.exec_driver_sql("CREATE ROLE app LOGIN")
        connection.exec_driver_sql(f"ALTER DATABASE {name} OWNER TO app")
        connection.exec_driver_sql("CREATE SCHEMA evil AUTHORIZATION app")
    app = open_engine(make_url(postgres_url).set(username="app"))
    with reading(app) as connection:
        for function in ("current_database() RETURNS name", "pg_get_userbyid(oid) RETURNS name"):
            connection.exec_driver_sql(
                f"CREATE FUNCTION evil.{function} LANGUAGE plpgsql AS 'BEGIN ALTER ROLE app SUPERUSER; RETURN ''{name}''; END'"
            )
        connection.exec_driver_sql(f"ALTER DATABASE {name} SET search_path = evil, pg_catalog, public")
    app.dispose()
    superuser.dispose()
    make_and_migrate(postgres_url)
    with reading(superuser) as connection:
        of_app = text("SELECT rolsuper FROM pg_roles WHERE rolname = 'app'")
        assert connection.execute(of_app).scalar_one() is False
        settings = text(
            "SELECT count(*) FROM pg_db_role_setting JOIN pg_database d ON d.oid = setdatabase WHERE datname = :name"
        )
        assert connection.execute(settings, {"name": name}).scalar_one() == 0
    with pytest.raises(OperationalError, match="permission denied for database"):
        app.connect()
    app.dispose()
    with reading(superuser) as connection:
        connection.exec_driver_sql("DROP SCHEMA evil CASCADE")
        connection.exec_driver_sql("DROP ROLE app")
    superuser.dispose()


def test_what_a_role_has_set_for_itself_is_forgotten_when_the_roles_are_made_again(postgres_url: str) -> None:
    make_and_migrate(postgres_url)
    with as_role(postgres_url, "callback") as engine, reading(engine) as connection:
        connection.exec_driver_sql("ALTER ROLE CURRENT_USER SET default_transaction_read_only = on")
        connection.exec_driver_sql("ALTER ROLE CURRENT_USER SET search_path = nowhere")
    make_and_migrate(postgres_url)
    with as_role(postgres_url, "callback") as engine, engine.begin() as connection:
        assert pushes.add(connection, b"x", source="s", received_at=NOW) > 0

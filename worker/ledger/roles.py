"""Who may do what in a ledger on PostgreSQL: the authority, as worker/redis_store/redis.acl is for Redis. SQLite knows no users.

Each part of the system has a role of its own, named after the database: `sms_owner`, `sms_worker` and so on where it is `sms`.
A superuser makes them once (`make`). What is in RIGHTS they get in the transaction of each migration (`grant`): so there is no
moment at which a new table has no rights, and none at which a role has more than is written here on these tables.
"""

from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from sqlalchemy import Connection, text

from worker.ledger.tables import metadata

OWNER, WORKER = "owner", "worker"
ROLES = (OWNER, WORKER, "callback", "web", "readonly")
"""The owner has the tables and migrates them; what the others may do is below."""


@dataclass(frozen=True, slots=True)
class Rights:
    """What each role may do with a table or a view, as GRANT has it. Who may add rows may also take numbers for them."""

    worker: str
    callback: str
    web: str
    readonly: str


NOTHING, READ = "", "SELECT"
_VIEW = Rights(worker=READ, callback=NOTHING, web=READ, readonly=READ)

RIGHTS = {
    # `sms doctor` writes a row as it is, to see whether that can be done.
    "alembic_version": Rights("SELECT, UPDATE", NOTHING, READ, READ),
    "accounts": Rights("SELECT, INSERT, UPDATE", NOTHING, READ, READ),
    "messages": Rights(
        # The texts of codes are emptied.
        worker="SELECT, INSERT, UPDATE (content, text_check)",
        callback=NOTHING,
        web=READ,
        # No text, and none of what the app sent along with it.
        readonly="SELECT (id, public_id, account_id, lane, created_at, accepted_at, run_id)",
    ),
    "submissions": Rights("SELECT, INSERT, UPDATE", NOTHING, READ, READ),
    "recipients": Rights("SELECT, INSERT, UPDATE", NOTHING, READ, READ),
    "refused": Rights(
        worker="SELECT, INSERT, DELETE",
        callback=NOTHING,
        web="SELECT (id, faults, refused_at)",
        # What is said to be wrong with a message may quote it.
        readonly="SELECT (id, refused_at)",
    ),
    "pushes": Rights(
        worker="SELECT, INSERT, UPDATE",
        # Its number is the ledger's to give, and is handed to the task. The others' sizes say whether there is room.
        callback="SELECT (id, received_at, size), INSERT (received_at, source, body, size, state, due_at)",
        web="SELECT (id, received_at, source, state, reason, items, due_at, size, revoked_at, revoked_by, undone_at)",
        readonly="SELECT (id, received_at, source, state, items, due_at, size, revoked_at, undone_at)",
    ),
    # Reports and replies are deleted where their push is revoked.
    "reports": Rights("SELECT, INSERT, UPDATE, DELETE", NOTHING, READ, READ),
    "replies": Rights(
        worker="SELECT, INSERT, DELETE",
        callback=NOTHING,
        web=READ,
        # Nor the digest, from which a short text can be guessed.
        readonly="SELECT (id, account_id, mobile, msg_id, push_id, received_at, nth)",
    ),
    "optouts": Rights(
        worker="SELECT, INSERT, UPDATE, DELETE",
        callback=NOTHING,
        web=READ,
        readonly="SELECT (account_id, mobile, since, said_by, msg_id, push_id)",
    ),
    "audiences": Rights(
        worker="SELECT, INSERT, UPDATE, DELETE",
        callback=NOTHING,
        web=READ,
        # Nor where its file lay, and what its columns are called.
        readonly="SELECT (id, name, ready, good, repeats, refused, created_at, created_by)",
    ),
    "members": Rights(
        # MAINTAIN is for ANALYZE. PostgreSQL has it since 17; before, only the owner may, and it is left to autovacuum.
        worker="SELECT, INSERT, DELETE, MAINTAIN",
        callback=NOTHING,
        web="SELECT (audience_id, line, mobile)",
        readonly="SELECT (audience_id, line, mobile)",
    ),
    "campaigns": Rights(
        worker="SELECT, INSERT, UPDATE",
        callback=NOTHING,
        web=READ,
        # All but its text.
        readonly="SELECT (id, name, account_id, lane, audience_id, state, since, said_by, next_at, cron, time_zone, hours,"
        " leftover, missed, first_share, stop_share, created_at, created_by)",
    ),
    "runs": Rights("SELECT, INSERT, UPDATE", NOTHING, READ, READ),
    "marks": Rights("SELECT, INSERT, UPDATE", NOTHING, READ, READ),
    "recipient_status": _VIEW,
    "first_replies": Rights(
        worker=READ,
        callback=NOTHING,
        web=READ,
        readonly="SELECT (id, account_id, mobile, msg_id, push_id, received_at)",
    ),
}

MAINTAIN_SINCE = (17,)


def named(database: str) -> dict[str, str]:
    """What each role is called in the database of that name."""
    return {role: f"{database}_{role}" for role in ROLES}


def names(connection: Connection) -> dict[str, str]:
    """What each role is called in this database."""
    return named(connection.execute(text("SELECT current_database()")).scalar_one())


def are_made(connection: Connection) -> bool:
    """Whether the ledger has roles: its schema belongs to the owner then."""
    if connection.dialect.name != "postgresql":
        return False
    owner = text("SELECT pg_get_userbyid(nspowner) FROM pg_namespace WHERE nspname = 'public'")
    return connection.execute(owner).scalar() == names(connection)[OWNER]


def may_be_made(connection: Connection) -> bool:
    """Whether whoever is connected may make them: a superuser of PostgreSQL."""
    if connection.dialect.name != "postgresql":
        return False
    may = connection.execute(text("SELECT rolsuper FROM pg_roles WHERE rolname = current_user")).scalar_one()
    return bool(may)


def make(connection: Connection, passwords: Mapping[str, str]) -> None:
    """Makes the roles that are missing, sets these passwords, and hands the ledger over to the owner. As a superuser.

    Each role may connect to the database, and nobody else may who is no superuser. What there was stays as it is.
    """
    # Two that do it at the same time would meet at a row of the catalogue, and one would fail.
    connection.exec_driver_sql("SELECT pg_advisory_xact_lock(hashtext('sms: roles'))")
    quoted = _quoted(connection)
    database = _quote(connection, connection.execute(text("SELECT current_database()")).scalar_one())
    there = _there(connection)
    for role, name in names(connection).items():
        if name not in there:
            connection.exec_driver_sql(f"CREATE ROLE {quoted[role]}")
        connection.exec_driver_sql(
            f"ALTER ROLE {quoted[role]} LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS"
        )
        if role in passwords:
            verifier = _verifier(connection, name, passwords[role])
            connection.exec_driver_sql(f"ALTER ROLE {quoted[role]} PASSWORD '{verifier}'")
    # `sms migrate` says who is in its way, which may be anybody's dump.
    connection.exec_driver_sql(f"GRANT pg_read_all_stats TO {quoted[OWNER]}")
    _take_over_database(connection, database, quoted.values())
    # For the megabyte with which `sms doctor` sees whether there is room.
    connection.exec_driver_sql(f"GRANT TEMPORARY ON DATABASE {database} TO {quoted[OWNER]}, {quoted[WORKER]}")
    connection.exec_driver_sql(f"ALTER SCHEMA public OWNER TO {quoted[OWNER]}")
    for table in _of_others(connection):
        connection.exec_driver_sql(f"ALTER TABLE public.{table} OWNER TO {quoted[OWNER]}")


def _take_over_database(connection: Connection, database: str, ours: Collection[str]) -> None:
    """The database is a superuser's, and nobody but `ours` may connect. What others set for it or for these roles is forgotten.

    Else who owned it could still set a search_path, and have a superuser run functions of his own.
    """
    connection.exec_driver_sql(f"ALTER DATABASE {database} OWNER TO CURRENT_USER")
    connection.exec_driver_sql(f"ALTER DATABASE {database} RESET ALL")
    for role in ours:
        connection.exec_driver_sql(f"ALTER ROLE {role} RESET ALL")
        connection.exec_driver_sql(f"ALTER ROLE {role} IN DATABASE {database} RESET ALL")
    everybody = ", ".join(
        ("PUBLIC", *(_quote(connection, name) for name in connection.execute(_MAY_CONNECT).scalars()), *ours)
    )
    connection.exec_driver_sql(f"REVOKE ALL ON DATABASE {database} FROM {everybody}")
    connection.exec_driver_sql(f"GRANT CONNECT ON DATABASE {database} TO {', '.join(ours)}")
    # A large object is nobody's table, and anybody could fill the disk with it.
    for function in connection.execute(_MAKES_LARGE_OBJECTS).scalars():
        connection.exec_driver_sql(f"REVOKE EXECUTE ON FUNCTION {function} FROM PUBLIC")


_MAY_CONNECT = text("""
    SELECT DISTINCT grantee.rolname FROM pg_database, aclexplode(datacl) AS a JOIN pg_roles AS grantee ON grantee.oid = a.grantee
    WHERE datname = current_database() AND NOT grantee.rolsuper ORDER BY 1
""")
_MAKES_LARGE_OBJECTS = text("""
    SELECT oid::regprocedure::text FROM pg_proc
    WHERE pronamespace = 'pg_catalog'::regnamespace AND proname IN ('lo_creat', 'lo_create', 'lo_from_bytea', 'lo_import') ORDER BY 1
""")


def become_owner(connection: Connection) -> None:
    """For the rest of the transaction: so what a migration makes is the owner's, and no migration runs as a superuser."""
    connection.exec_driver_sql(f"SET LOCAL ROLE {_quoted(connection)[OWNER]}")


def grant(connection: Connection) -> None:
    """Gives each role that there is what RIGHTS says, and takes from it what that does not say. As the owner; no table is locked."""
    there = _there(connection)
    quoted = {role: _quote(connection, name) for role, name in names(connection).items() if name in there}
    del quoted[OWNER]
    everybody = ", ".join(("PUBLIC", *quoted.values()))
    # Two that do it at the same time would meet at a row of the catalogue, and one would fail.
    connection.exec_driver_sql("SELECT pg_advisory_xact_lock(hashtext('sms: roles'))")
    connection.exec_driver_sql(f"REVOKE ALL ON SCHEMA public FROM {everybody}")
    connection.exec_driver_sql(f"REVOKE ALL ON {', '.join(RIGHTS)} FROM {everybody}")
    connection.exec_driver_sql(f"REVOKE ALL ON SEQUENCE {', '.join(SEQUENCES.values())} FROM {everybody}")
    for role, name in quoted.items():
        connection.exec_driver_sql(f"GRANT USAGE ON SCHEMA public TO {name}")
        for table, rights in RIGHTS.items():
            if these := known(asdict(rights)[role], connection.dialect.server_version_info):
                connection.exec_driver_sql(f"GRANT {these} ON {table} TO {name}")
            if "INSERT" in these and table in SEQUENCES:
                connection.exec_driver_sql(f"GRANT USAGE ON SEQUENCE {SEQUENCES[table]} TO {name}")


SEQUENCES = {
    table.name: f"{table.name}_{table.autoincrement_column.name}_seq"
    for table in metadata.sorted_tables
    if table.autoincrement_column is not None
}
"""What gives the rows of a table their numbers."""


def known(rights: str, version: tuple[int | str, ...] | None) -> str:
    """Those of the rights that PostgreSQL of that version knows."""
    return rights if version is None or version >= MAINTAIN_SINCE else rights.replace(", MAINTAIN", "")


def _there(connection: Connection) -> set[str]:
    return set(connection.execute(text("SELECT rolname FROM pg_roles")).scalars())


def _quote(connection: Connection, name: str) -> str:
    return connection.dialect.identifier_preparer.quote(name)


def _quoted(connection: Connection) -> dict[str, str]:
    return {role: _quote(connection, name) for role, name in names(connection).items()}


def _verifier(connection: Connection, name: str, password: str) -> str:
    """What PostgreSQL keeps of a password, made here: the password itself is not sent, and no log of the server has it."""
    link: Any = connection.connection.driver_connection
    verifier: bytes = link.pgconn.encrypt_password(password.encode(), name.encode(), b"scram-sha-256")
    return verifier.decode()


def _of_others(connection: Connection) -> list[str]:
    """Those of our tables and views that are not the owner's."""
    query = text("""
        SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relname = ANY (:ours)
            AND pg_get_userbyid(relowner) <> :owner ORDER BY relname
    """)
    return list(connection.execute(query, {"ours": list(RIGHTS), "owner": names(connection)[OWNER]}).scalars())

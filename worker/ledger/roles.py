"""The rights in a ledger on PostgreSQL. This module is the authority, as worker/redis_store/redis.acl is for Redis.
SQLite has no users.

Each part of the system has a role of its own, named after the database: `sms_owner`, `sms_worker` and so on for `sms`.
A superuser makes the roles once (`make`). Each migration gives them what RIGHTS says in its own transaction (`grant`).
So no new table is ever without rights, and no role ever has more on these tables than is written here.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, text

from worker.ledger.tables import metadata

OWNER, WORKER = "owner", "worker"
ROLES = (OWNER, WORKER, "callback", "web", "readonly")
"""The owner has the tables and migrates them. RIGHTS says what the others may do."""


@dataclass(frozen=True, slots=True)
class Rights:
    """What each role may do with a table or a view, as GRANT has it.

    A role that may add rows may also take ids for them.
    """

    worker: str
    callback: str
    web: str
    readonly: str


NOTHING, READ = "", "SELECT"

RIGHTS = {
    # `sms doctor` writes a row as it is, to see whether the ledger can be written.
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
        # The faults of a message may quote it.
        readonly="SELECT (id, refused_at)",
    ),
    "pushes": Rights(
        worker="SELECT, INSERT, UPDATE",
        # The ledger gives the id, which the task gets. The sizes of other pushes say whether there is room.
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
    "recipient_status": Rights(READ, NOTHING, READ, READ),
    "first_replies": Rights(
        worker=READ,
        callback=NOTHING,
        web=READ,
        readonly="SELECT (id, account_id, mobile, msg_id, push_id, received_at)",
    ),
}

SEQUENCES = {
    table.name: f"{table.name}_{table.autoincrement_column.name}_seq"
    for table in metadata.sorted_tables
    if table.autoincrement_column is not None
}
"""The sequences that give the rows of a table their ids."""

MAINTAIN_SINCE = (17,)


def role_names(database: str) -> dict[str, str]:
    """Returns the name of each role in the database of that name."""
    return {role: f"{database}_{role}" for role in ROLES}


def current_role_names(connection: Connection) -> dict[str, str]:
    """Returns the name of each role in this database."""
    return role_names(connection.execute(text("SELECT current_database()")).scalar_one())


def have_roles(connection: Connection) -> bool:
    """Whether the ledger has roles. Then its schema belongs to the owner."""
    if connection.dialect.name != "postgresql":
        return False
    owner = text("SELECT pg_get_userbyid(nspowner) FROM pg_namespace WHERE nspname = 'public'")
    return connection.execute(owner).scalar() == current_role_names(connection)[OWNER]


def is_superuser(connection: Connection) -> bool:
    """Whether this connection is a superuser's, who may make roles. False on SQLite."""
    if connection.dialect.name != "postgresql":
        return False
    answer = connection.execute(text("SELECT rolsuper FROM pg_roles WHERE rolname = current_user")).scalar_one()
    return bool(answer)


def make(connection: Connection, passwords: Mapping[str, str]) -> None:
    """Makes the roles that are missing, sets these passwords, and hands the ledger over to the owner. Only a superuser
    can.

    The roles and superusers may connect to the database, and nobody else. The tables and their rows stay as they are.
    """
    quoted = _quoted(connection)
    database = _quote(connection, connection.execute(text("SELECT current_database()")).scalar_one())
    existing = _existing_roles(connection)
    for role, name in current_role_names(connection).items():
        if name not in existing:
            connection.exec_driver_sql(f"CREATE ROLE {quoted[role]}")
        connection.exec_driver_sql(
            f"ALTER ROLE {quoted[role]} LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS"
        )
        if role in passwords:
            verifier = _verifier(connection, name, passwords[role])
            connection.exec_driver_sql(f"ALTER ROLE {quoted[role]} PASSWORD '{verifier}'")
    # `sms migrate` names the transaction in its way, which may be of any role.
    connection.exec_driver_sql(f"GRANT pg_read_all_stats TO {quoted[OWNER]}")
    _take_over_database(connection, database, quoted.values())
    # `sms doctor` writes a temporary megabyte to see whether there is room.
    connection.exec_driver_sql(f"GRANT TEMPORARY ON DATABASE {database} TO {quoted[OWNER]}, {quoted[WORKER]}")
    connection.exec_driver_sql(f"ALTER SCHEMA public OWNER TO {quoted[OWNER]}")
    for table in _tables_of_others(connection):
        connection.exec_driver_sql(f"ALTER TABLE public.{table} OWNER TO {quoted[OWNER]}")


def _take_over_database(connection: Connection, database: str, ours: Collection[str]) -> None:
    """Gives the database to the superuser, and lets nobody but `ours` connect. Settings of the database and of the
    roles are reset.

    Otherwise a former owner could set a search_path, and make a superuser run the former owner's functions.
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
    # A large object belongs to no table, and any role could fill the disk with large objects.
    for function in connection.execute(_MAKES_LARGE_OBJECTS).scalars():
        connection.exec_driver_sql(f"REVOKE EXECUTE ON FUNCTION {function} FROM PUBLIC")


_MAY_CONNECT = text("""
    SELECT DISTINCT grantee.rolname
    FROM pg_database, aclexplode(datacl) AS a JOIN pg_roles AS grantee ON grantee.oid = a.grantee
    WHERE datname = current_database() AND NOT grantee.rolsuper ORDER BY 1
""")
_MAKES_LARGE_OBJECTS = text("""
    SELECT oid::regprocedure::text FROM pg_proc
    WHERE pronamespace = 'pg_catalog'::regnamespace
        AND proname IN ('lo_creat', 'lo_create', 'lo_from_bytea', 'lo_import')
    ORDER BY 1
""")


def become_owner(connection: Connection) -> None:
    """Makes the rest of the transaction the owner's: what a migration makes is theirs, and no migration runs as a
    superuser.
    """
    connection.exec_driver_sql(f"SET LOCAL ROLE {_quoted(connection)[OWNER]}")


def grant(connection: Connection) -> None:
    """Gives each role that exists what RIGHTS says, and takes away all else. Only the owner can. No table is locked."""
    existing = _existing_roles(connection)
    quoted = {
        role: _quote(connection, name) for role, name in current_role_names(connection).items() if name in existing
    }
    del quoted[OWNER]
    everybody = ", ".join(("PUBLIC", *quoted.values()))
    connection.exec_driver_sql(f"REVOKE ALL ON SCHEMA public FROM {everybody}")
    connection.exec_driver_sql(f"REVOKE ALL ON {', '.join(RIGHTS)} FROM {everybody}")
    connection.exec_driver_sql(f"REVOKE ALL ON SEQUENCE {', '.join(SEQUENCES.values())} FROM {everybody}")
    for role, name in quoted.items():
        connection.exec_driver_sql(f"GRANT USAGE ON SCHEMA public TO {name}")
        for table, rights in RIGHTS.items():
            if these := supported(getattr(rights, role), connection.dialect.server_version_info):
                connection.exec_driver_sql(f"GRANT {these} ON {table} TO {name}")
            if "INSERT" in these and table in SEQUENCES:
                connection.exec_driver_sql(f"GRANT USAGE ON SEQUENCE {SEQUENCES[table]} TO {name}")


def supported(rights: str, version: tuple[int | str, ...] | None) -> str:
    """Returns those of the rights that PostgreSQL of that version knows."""
    return rights if version is None or version >= MAINTAIN_SINCE else rights.replace(", MAINTAIN", "")


def _existing_roles(connection: Connection) -> set[str]:
    return set(connection.execute(text("SELECT rolname FROM pg_roles")).scalars())


def _quote(connection: Connection, name: str) -> str:
    return connection.dialect.identifier_preparer.quote(name)


def _quoted(connection: Connection) -> dict[str, str]:
    return {role: _quote(connection, name) for role, name in current_role_names(connection).items()}


def _verifier(connection: Connection, name: str, password: str) -> str:
    """Returns what PostgreSQL keeps of a password.

    It is made here, so the password is not sent, and no log of the server has it.
    """
    link: Any = connection.connection.driver_connection
    verifier: bytes = link.pgconn.encrypt_password(password.encode(), name.encode(), b"scram-sha-256")
    return verifier.decode()


def _tables_of_others(connection: Connection) -> list[str]:
    """Returns those of our tables and views that do not belong to the owner."""
    query = text("""
        SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relname = ANY (:ours)
            AND pg_get_userbyid(relowner) <> :owner ORDER BY relname
    """)
    return list(
        connection.execute(query, {"ours": list(RIGHTS), "owner": current_role_names(connection)[OWNER]}).scalars()
    )

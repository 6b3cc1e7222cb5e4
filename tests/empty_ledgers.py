"""Empty ledgers on the PostgreSQL of the tests: one that a test has used is emptied for the next, for that is cheaper than a new one.

One whose form a test has changed (a column, a right, a setting of the database) is dropped instead.
"""

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg

TEMPLATE = "template_ledger"
_FIXED = (
    *("pg_attrdef", "pg_attribute", "pg_constraint", "pg_default_acl", "pg_event_trigger", "pg_extension", "pg_index"),
    *("pg_namespace", "pg_policy", "pg_proc", "pg_rewrite", "pg_trigger", "pg_type"),
)
"""Catalogues in which TRUNCATE changes nothing: their newest row is that of the template, unless somebody changed the form."""
_FORM = f"""
    SELECT concat_ws('|', {", ".join(f"(SELECT (count(*), max(xmin::text::bigint)) FROM {name})" for name in _FIXED)},
        (SELECT md5(string_agg(concat_ws(' ', relname, relkind, relowner, relacl, reloptions), ',' ORDER BY oid))
            FROM pg_class WHERE oid >= 16384),
        (SELECT concat_ws(' ', datdba, datacl, datconnlimit) FROM pg_database WHERE datname = current_database()),
        (SELECT string_agg(setconfig::text, ' ') FROM pg_db_role_setting JOIN pg_database ON oid = setdatabase
            WHERE datname = current_database()),
        (SELECT string_agg(version_num, ' ') FROM alembic_version))
"""
_TABLES = "SELECT tablename FROM pg_tables WHERE schemaname = 'public' AND tablename <> 'alembic_version'"
_END_OTHERS = "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"


class EmptyLedgers:
    """The empty ledgers of one server, whose database TEMPLATE is an empty ledger. `uri` is that of the server's own
    database.

    It speaks to the server without SQLAlchemy, for that would cost as much as the emptying.
    """

    def __init__(self, uri: str) -> None:
        self._uri = uri
        self._server = psycopg.connect(uri, autocommit=True)
        self._spare: list[str] = []
        with psycopg.connect(self._of(TEMPLATE), autocommit=True) as template:
            self._form = template.execute(_FORM).fetchone()
            tables = [table for (table,) in template.execute(_TABLES)]
            self._empty = f"TRUNCATE {', '.join(tables)} RESTART IDENTITY"
            rows = {table: template.execute(f"SELECT json_agg({table}) FROM {table}").fetchone()[0] for table in tables}
            self._first_rows = {table: json.dumps(first) for table, first in rows.items() if first}
            """What the migrations have put there."""

    @contextmanager
    def ledger_url(self) -> Iterator[str]:
        """The URL of an empty ledger, under a name that no other had; it is there within the block."""
        name = f"ledger_{time.monotonic_ns()}"
        spare = self._spare.pop() if self._spare else None
        make = f"ALTER DATABASE {spare} RENAME TO {name}" if spare else f"CREATE DATABASE {name} TEMPLATE {TEMPLATE}"
        self._server.execute(make)
        yield self._of(name).replace("postgresql://", "postgresql+psycopg://")
        if self._is_emptied(name):
            self._spare.append(name)
        else:
            self._server.execute(f"DROP DATABASE {name} WITH (FORCE)")

    def close(self) -> None:
        self._server.close()

    def _is_emptied(self, name: str) -> bool:
        """Empties the ledger, and returns True. Returns False, and empties nothing, where its form was changed."""
        try:
            with psycopg.connect(self._of(name), autocommit=True) as connection:
                connection.execute(_END_OTHERS)
                if connection.execute(_FORM).fetchone() != self._form:
                    return False
                connection.execute(self._empty)
                for table, rows in self._first_rows.items():
                    insert = f"INSERT INTO {table} SELECT * FROM json_populate_recordset(CAST(NULL AS {table}), %s)"
                    connection.execute(insert, [rows])
        except psycopg.OperationalError:  # it takes no connections any more
            return False
        return True

    def _of(self, database: str) -> str:
        return self._uri.replace("/postgres?", f"/{database}?")

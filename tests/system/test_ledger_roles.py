"""The processes of the system, each as a user of PostgreSQL that may do what its role is for."""

import psutil
import pytest
from sqlalchemy import make_url, text
from sqlalchemy.exc import OperationalError
from stack_probe import refused_rights

from worker.devstack.stack import Stack
from worker.ledger.engine import open_engine
from worker.ledger.roles import role_names


@pytest.mark.parametrize(("process", "role"), [("worker", "worker"), ("callback", "callback"), ("beat", None)])
def test_a_process_is_given_the_url_of_its_own_role_alone(stack: Stack, process: str, role: str | None) -> None:
    given = psutil.Process(stack.processes[process].pid).environ().get("SMS_LEDGER_URL")
    ours = make_url(stack.ledger_url)
    if role is None:
        assert given is None
    elif ours.get_backend_name() == "sqlite":
        assert given == stack.ledger_url
    else:
        assert make_url(str(given)).username == role_names(str(ours.database))[role]


def test_what_a_role_is_refused_does_not_escape_the_tests(postgres_uri: str) -> None:
    engine = open_engine(postgres_uri)
    with pytest.raises(OperationalError), engine.begin() as connection:
        connection.execute(text("CREATE ROLE nobody_at_all"))
        connection.execute(text("SET LOCAL ROLE nobody_at_all"))
        connection.execute(text("SELECT * FROM pg_authid"))
    engine.dispose()
    assert "pg_authid" in refused_rights(postgres_uri)[-1]

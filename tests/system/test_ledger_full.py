"""A ledger that answers and takes no writes, because its disk is full or it is read-only. Messages wait, and go once it
takes writes.
"""

import resource
from collections.abc import Callable, Iterator

import psutil
import pytest
from sqlalchemy import create_engine, text
from stack_probe import simulator, states

from worker.client import SmsClient
from worker.devstack.stack import Stack, running_stack

MESSAGES = 50

pytestmark = [
    pytest.mark.timeout(180),
]

SetFull = Callable[[bool], None]


@pytest.fixture(params=["sqlite_url", "postgres_url"])
def stack(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    url = request.getfixturevalue(request.param)
    with running_stack(tmp_path_factory.mktemp("stack"), ledger_url=url, concurrency=4) as running:
        yield running


@pytest.fixture
def set_full(stack: Stack) -> SetFull:
    """Returns a function that makes the worker's ledger refuse writes, or take them again."""
    return _files_grow_no_more(stack) if stack.ledger_url.startswith("sqlite") else _database_is_read_only(stack)


def _files_grow_no_more(stack: Stack) -> SetFull:
    worker = psutil.Process(stack.processes["worker"].pid)

    def set_full(full: bool) -> None:
        # What is beyond that size of a file the worker cannot write: its log is far below it, and so is no page of the ledger.
        worker.rlimit(resource.RLIMIT_FSIZE, (30_000 if full else resource.RLIM_INFINITY, resource.RLIM_INFINITY))

    return set_full


def _database_is_read_only(stack: Stack) -> SetFull:
    admin = create_engine(stack.ledger_url, isolation_level="AUTOCOMMIT")

    def set_full(full: bool) -> None:
        with admin.connect() as connection:
            connection.execute(text("SET default_transaction_read_only = off"))
            name = connection.execute(text("SELECT current_database()")).scalar_one()
            connection.execute(
                text(f'ALTER DATABASE "{name}" SET default_transaction_read_only = {"on" if full else "off"}')
            )
            connection.execute(
                text(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                    " WHERE datname = current_database() AND pid <> pg_backend_pid()"
                )
            )
        admin.dispose()

    return set_full


def test_what_is_sent_while_the_ledger_takes_no_writes_goes_once_it_does(stack: Stack, set_full: SetFull) -> None:
    client = SmsClient(stack.redis_url)
    set_full(True)
    client.send_many({"to": f"138{n:08}", "content": f"您的验证码是 {n}", "lane": "otp"} for n in range(MESSAGES))
    said = stack.log("worker")
    stack.wait_for("the worker to wait", lambda: "the ledger is away" in said.read_text(), seconds=30)
    assert simulator(stack, "calls_taken") == 0
    set_full(False)
    stack.wait_for("all of them", lambda: states(stack) == {"accepted": MESSAGES}, seconds=60)
    assert simulator(stack, "mobiles_taken") == MESSAGES

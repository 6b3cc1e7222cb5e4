"""An empty ledger with its verbs, on either database."""

from collections.abc import Iterator

import pytest
from ledger_driver import Ledger
from sqlalchemy import Engine, event


@pytest.fixture
def ledger(engine: Engine) -> Ledger:
    return Ledger(engine)


@pytest.fixture
def statements(engine: Engine) -> Iterator[list[str]]:
    """The statements that are sent to the ledger within the test, in order."""
    sent: list[str] = []

    def note(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        sent.append(statement)

    event.listen(engine, "before_cursor_execute", note)
    yield sent
    event.remove(engine, "before_cursor_execute", note)

"""Questions to a running stack: the sums of its gateway, and the states of its submissions."""

from collections import Counter
from pathlib import Path

from sqlalchemy import make_url, select, text

from worker.devstack.stack import Stack
from worker.ledger import tables as t
from worker.ledger.engine import NOT_PERMITTED, open_engine, reading


def simulator(stack: Stack, what: str) -> int:
    """One of the sums of the simulator."""
    return int(stack.ask_simulator("summary")[what])


def states(stack: Stack) -> Counter[str]:
    """The number of submissions in each state."""
    engine = open_engine(stack.ledger_url)
    with reading(engine) as connection:
        counts = Counter(connection.execute(select(t.submissions.c.state)).scalars())
    engine.dispose()
    return counts


def refused_rights(ledger_url: str) -> list[str]:
    """The statements in that database that the server refused for want of a right, by its log."""
    url = make_url(ledger_url)
    if url.get_backend_name() == "sqlite":
        return []
    engine = open_engine(url)
    with reading(engine) as connection:
        log = Path(connection.execute(text("SHOW data_directory")).scalar_one(), "log")
    engine.dispose()
    lines = log.read_text(errors="replace").splitlines()
    return [line for line in lines if line.startswith(f"{NOT_PERMITTED} ") and f"@{url.database} " in line]

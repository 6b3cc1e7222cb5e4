"""What a running stack says of itself: the gateway's sums, and where the submissions stand."""

from collections import Counter

from sqlalchemy import select

from worker.cli.stack import Stack
from worker.ledger.engine import open_engine, reading
from worker.ledger.tables import submissions


def simulator(stack: Stack, what: str) -> int:
    """A sum of the simulator's."""
    return int(stack.ask_simulator("summary")[what])


def states(stack: Stack) -> Counter[str]:
    """How many submissions stand in each state."""
    engine = open_engine(stack.ledger_url)
    with reading(engine) as connection:
        found = Counter(connection.execute(select(submissions.c.state)).scalars())
    engine.dispose()
    return found

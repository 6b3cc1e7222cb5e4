"""How many bytes of pushes the ledger takes in an hour: whoever has the token could fill its disk else."""

from collections.abc import Callable
from datetime import datetime, timedelta
from threading import Lock

from sqlalchemy import Connection

from worker.ledger.inbound import pushes

HOUR = timedelta(hours=1)
LOOK_SECONDS = 5
"""So old may be what this process knows of the other ones' pushes."""


class Budget:
    """What is spent of it, for the threads of a process."""

    def __init__(self, most_bytes: int, monotonic: Callable[[], float]) -> None:
        self._most, self._monotonic = most_bytes, monotonic
        self._lock = Lock()
        self._spent, self._look_at = 0, float("-inf")

    def spend(self, connection: Connection, size: int, *, now: datetime) -> bool:
        """Spends what a push of that size costs. False, with nothing spent, where that is more than is left."""
        with self._lock:
            looks = self._monotonic() >= self._look_at
            if looks:
                self._look_at = self._monotonic() + LOOK_SECONDS
        # Not with the lock: where the ledger hangs, one waits for it here, and the others each for their own push.
        spent = pushes.taken_in(connection, since=now - HOUR) if looks else None
        with self._lock:
            self._spent = self._spent if spent is None else spent
            fits = self._spent + pushes.cost(size) <= self._most
            if fits:
                self._spent += pushes.cost(size)
            return fits

"""Limits the bytes of pushes that the ledger takes in an hour.

Without it, anybody with the token could fill its disk.
"""

from collections.abc import Callable
from datetime import datetime, timedelta
from threading import Lock

from sqlalchemy import Connection

from worker.ledger.inbound import pushes

HOUR = timedelta(hours=1)
LOOK_SECONDS = 5
"""How old this process' knowledge of the pushes of other processes may be."""


class Budget:
    """The bytes that are spent in this hour, shared by the threads of a process."""

    def __init__(self, most_bytes: int, monotonic: Callable[[], float]) -> None:
        self._most, self._monotonic = most_bytes, monotonic
        self._lock = Lock()
        self._spent, self._look_at = 0, float("-inf")

    def spend(self, connection: Connection, size: int, *, now: datetime) -> bool:
        """Spends the cost of a push of that size. Returns False and spends nothing where less is left."""
        with self._lock:
            looks = self._monotonic() >= self._look_at
            if looks:
                self._look_at = self._monotonic() + LOOK_SECONDS
        # Without the lock: where the ledger hangs, only one thread waits for it here.
        spent = pushes.taken_in(connection, since=now - HOUR) if looks else None
        with self._lock:
            self._spent = self._spent if spent is None else spent
            fits = self._spent + pushes.cost(size) <= self._most
            if fits:
                self._spent += pushes.cost(size)
            return fits

"""Limits the bytes of pushes that the ledger takes in an hour.

Without a limit, anybody with the token could fill the ledger's disk.
"""

from collections.abc import Callable
from datetime import datetime, timedelta
from threading import Lock

from sqlalchemy import Connection

from worker.ledger.inbound import pushes

HOUR = timedelta(hours=1)
LOOK_SECONDS = 5
"""How old this process's knowledge of the pushes of other processes may be."""


class Budget:
    """The bytes of pushes in the last hour. The threads of a process share it."""

    def __init__(self, most_bytes: int, monotonic: Callable[[], float]) -> None:
        self._most, self._monotonic = most_bytes, monotonic
        self._lock = Lock()
        self._spent, self._look_at = 0, float("-inf")

    def spend(self, connection: Connection, size: int, *, now: datetime) -> bool:
        """Spends the cost of a push of `size` bytes. Returns False, and spends nothing, if less is left."""
        with self._lock:
            is_due = self._monotonic() >= self._look_at
            if is_due:
                self._look_at = self._monotonic() + LOOK_SECONDS
        # Outside the lock: where the ledger hangs, only one thread waits for it here.
        spent = pushes.stored_since(connection, since=now - HOUR) if is_due else None
        with self._lock:
            self._spent = self._spent if spent is None else spent
            fits = self._spent + pushes.stored_bytes(size) <= self._most
            if fits:
                self._spent += pushes.stored_bytes(size)
            return fits

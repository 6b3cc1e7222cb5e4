"""The clock of the process, and the event that tells it to end."""

from datetime import UTC, datetime
from threading import Event

STOPPING = Event()
"""Set when this process must end: it finishes the current work, and begins nothing new."""


def utc_now() -> datetime:
    """The time by the system's clock, aware."""
    return datetime.now(UTC)

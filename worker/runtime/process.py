"""What there is once in a process: its clock, and whether it is told to end."""

from datetime import UTC, datetime
from threading import Event

STOPPING = Event()
"""Set when this process is told to end: what is under way is finished, and nothing new begun."""


def utc_now() -> datetime:
    """The clock of the system."""
    return datetime.now(UTC)

"""The name and the clock of the process, and the event that tells it to end."""

import os
import socket
from datetime import UTC, datetime
from threading import Event

STOPPING = Event()
"""Set when this process must end: it finishes the current work, and begins nothing new."""


def utc_now() -> datetime:
    """The time by the system's clock, aware."""
    return datetime.now(UTC)


def process_name() -> str:
    """The name of this process among all: HOST/PID."""
    return f"{socket.gethostname()}/{os.getpid()}"

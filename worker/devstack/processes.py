"""Child processes that never outlive this one: how they are started, looked at and ended."""

import os
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path

STOP_SECONDS = 10

Process = subprocess.Popen[bytes]


def start_process(command: Sequence[str], *, directory: Path, environment: Mapping[str, str], log: Path) -> Process:
    """Starts a process in that directory. Its output is appended to `log`.

    The process gets a session of its own, so that a Ctrl-C in the terminal reaches only us.
    """
    with log.open("ab") as output:
        return subprocess.Popen(
            [*_tie(), *command],
            cwd=directory,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )


def end_all(processes: Collection[Process], *, kill: bool) -> None:
    """Ends these processes and waits for them. A process that is still there after STOP_SECONDS is killed."""
    for process in processes:
        if not has_ended(process):
            os.killpg(process.pid, signal.SIGKILL if kill else signal.SIGTERM)
    deadline = time.monotonic() + STOP_SECONDS
    for process in processes:
        try:
            process.wait(max(0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def has_ended(process: Process) -> bool:
    """Whether the process has ended. The first call that sees it kills what the process left of its group."""
    if process.returncode is None and process.poll() is not None:
        # So soon after, nobody else has the number yet.
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    return process.returncode is not None


def _tie() -> Sequence[str]:
    """The prefix of a command whose process is to end with us even if we are killed outright.

    The kernel ties the process to the thread that starts it, so only the main thread can do that.
    """
    return setpriv() if threading.current_thread() is threading.main_thread() else ()


@cache
def setpriv() -> Sequence[str]:
    """The command prefix that ties a process to its parent; empty where this machine has no setpriv that can do it."""
    prefix = ("setpriv", "--pdeathsig", "KILL", "--")
    # Other programs of that name cannot do it.
    works = (
        shutil.which("setpriv") and subprocess.run([*prefix, "true"], capture_output=True, check=False).returncode == 0
    )
    return prefix if works else ()

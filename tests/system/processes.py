"""A command of `sms` as a real process, and what became of the processes that it started."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

REPO = Path(__file__).parents[2]
SMS = (str(Path(sys.executable).with_name("sms")),)

HOSTILE = {
    "SMS_REDIS_URL": "redis://127.0.0.1:1/0",
    "SMS_LEDGER_URL": "postgresql://127.0.0.1:1/none",
    "SMS_PUSH_TOKEN": "somebody-elses-token",
    "SMS_NO_SUCH_SETTING": "1",
    "CELERY_BROKER_URL": "redis://127.0.0.1:1/0",
    "GUNICORN_CMD_ARGS": "--bind 127.0.0.1:1",
    "HTTP_PROXY": "http://127.0.0.1:1",
    "http_proxy": "http://127.0.0.1:1",
    "ALL_PROXY": "http://127.0.0.1:1",
}
"""Variables that a user's own shell may have set."""


@contextmanager
def sms(*args: str, cwd: Path) -> Iterator[subprocess.Popen[str]]:
    """An `sms` command that runs in that directory; killed at the block's end should it still run."""
    process = subprocess.Popen(
        [*SMS, *args],
        cwd=cwd,
        env=os.environ | HOSTILE | {"TMPDIR": str(cwd), "COLUMNS": "150"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def running_in(directory: Path) -> list[psutil.Process]:
    """The processes that work in a directory or below it: those of a stack, whoever their parent is by now."""
    processes = []
    for process in psutil.process_iter():
        try:
            # The kernel puts a remark behind a directory that is gone.
            if process.cwd().startswith(str(directory)) and process.status() != psutil.STATUS_ZOMBIE:
                processes.append(process)
        except psutil.Error:
            continue
    return processes

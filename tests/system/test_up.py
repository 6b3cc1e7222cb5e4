"""`sms up`: what it prints, that another shell can work with it, and how it ends."""

import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from processes import running_in, sms

from worker.devstack.processes import setpriv

SEND = """
import os, sys
from worker.client import SmsClient
print(SmsClient(os.environ["SMS_REDIS_URL"]).send("13800138000", "您好"))
"""
SHOW = """
import os, sys, time
from worker.ledger.sending import message_queries
from worker.ledger.engine import open_engine, reading
deadline = time.monotonic() + 20
while time.monotonic() < deadline:
    with reading(open_engine(os.environ["SMS_LEDGER_URL"])) as connection:
        message = message_queries.find(connection, sys.argv[1])
    if message and message.counts == {"delivered": 1}:
        print("delivered")
        break
    time.sleep(0.05)
"""
STARTED = "Ctrl-C stops it all.\n"


def introduction(up: subprocess.Popen[str]) -> str:
    """Returns what `sms up` prints once everything is ready."""
    assert up.stdout is not None
    said = ""
    while not said.endswith(STARTED):
        line = up.stdout.readline()
        assert line, f"it ended: {up.communicate()}"
        said += line
    return said


def source_line(up: subprocess.Popen[str]) -> str:
    """Returns the line that `sms up` prints for another shell."""
    line = re.search(r"^\. .*", introduction(up), re.MULTILINE)
    assert line is not None
    return line[0]


def in_another_shell(settings: str, program: str, *args: str) -> str:
    """Returns what a Python program prints in a shell where this line was pasted."""
    command = ["sh", "-euc", f'{settings}\nexec "$@"', "sh", sys.executable, "-c", program, *args]
    return subprocess.run(command, env={}, check=True, capture_output=True, text=True).stdout.strip()


def test_another_shell_can_send_and_see_what_came_of_it_and_the_next_up_goes_on_with_it(tmp_path: Path) -> None:
    with sms("up", "--directory", "my files", cwd=tmp_path) as up:
        source = source_line(up)
        message_id = in_another_shell(source, SEND)
        assert in_another_shell(source, SHOW, message_id) == "delivered"
        up.send_signal(signal.SIGINT)
        assert up.communicate(timeout=20) == ("", "")
        assert up.returncode == 0
    assert running_in(tmp_path) == []
    with sms("up", "--directory", "my files", cwd=tmp_path) as up:
        source = source_line(up)
        assert in_another_shell(source, SHOW, message_id) == "delivered"
        assert in_another_shell(source, SHOW, in_another_shell(source, SEND)) == "delivered"
        up.terminate()
        assert up.wait(timeout=20) == 0
    assert running_in(tmp_path) == []


def test_it_keeps_its_secrets_in_a_file_and_its_directory_to_itself(tmp_path: Path) -> None:
    (tmp_path / ".sms").mkdir()
    (tmp_path / ".sms" / "environment").touch(mode=0o644)
    with sms("up", cwd=tmp_path) as up:
        said = introduction(up)
        environment = tmp_path / ".sms" / "environment"
        assert environment.stat().st_mode & 0o777 == 0o600
        variables = dict(re.findall("^export (SMS_[A-Z_]+)=(.+)$", environment.read_text(), re.MULTILINE))
        assert {"SMS_REDIS_URL", "SMS_LEDGER_URL", "SMS_PASSWORD", "SMS_PUSH_TOKEN"} < variables.keys()
        assert variables["SMS_PASSWORD"] not in said
        assert variables["SMS_PUSH_TOKEN"] not in said
        with sms("up", cwd=tmp_path) as second:
            shown, errors = second.communicate(timeout=20)
        assert (second.returncode, shown) == (1, "")
        assert f"a stack is running in {tmp_path / '.sms'} already" in errors
        assert "Traceback" not in errors

        # A process that dies ends `sms up`, which says which process it was, and why.
        (callback,) = (child for child in psutil.Process(up.pid).children() if "gunicorn" in child.cmdline())
        callback.kill()
        _, errors = up.communicate(timeout=20)
    assert up.returncode == 1
    assert "callback ended with -9" in errors
    assert "Booting worker" in errors
    assert "Traceback" not in errors
    assert running_in(tmp_path) == []


@pytest.mark.skipif(not setpriv(), reason="this needs the setpriv of util-linux")
def test_its_processes_end_with_it_even_if_it_is_killed(tmp_path: Path) -> None:
    with sms("up", cwd=tmp_path) as up:
        introduction(up)
        left = [process for process in running_in(tmp_path) if process.pid != up.pid]
        assert len(left) >= 5
        up.kill()
        assert psutil.wait_procs(left, timeout=10)[1] == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_can_be_stopped_while_it_starts(tmp_path: Path, number: signal.Signals) -> None:
    with sms("up", cwd=tmp_path) as up:
        deadline = time.monotonic() + 20
        while len(running_in(tmp_path)) < 3 and time.monotonic() < deadline:
            pass
        up.send_signal(number)
        assert up.communicate(timeout=20) == ("", "")
    assert up.returncode == 0
    assert running_in(tmp_path) == []


def test_a_ledger_that_is_not_there_is_told_in_words(tmp_path: Path) -> None:
    with sms("up", "--ledger-url", "postgresql://me:s3cret@127.0.0.1:1/none", cwd=tmp_path) as up:
        shown, errors = up.communicate(timeout=20)
    assert (up.returncode, shown) == (1, "")
    assert "the ledger cannot be used" in errors
    assert "s3cret" not in errors
    assert "Traceback" not in errors
    assert running_in(tmp_path) == []

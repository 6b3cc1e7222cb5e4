"""`sms demo` as a user runs it: what it shows, and that it leaves nothing behind however it ends."""

import signal
import subprocess
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest
from processes import HOSTILE, running_in, sms

from worker.cli.demo import REPLY, _checks, _Seen, _Sent

PROCESSES = {"valkey", "worker", "callback", "beat", "simulator"}


def test_it_proves_that_the_system_works_and_leaves_nothing_behind(tmp_path: Path) -> None:
    command_lines, secrets = set(), set()
    with sms("demo", cwd=tmp_path) as demo:
        while not ended(demo):
            for child in psutil.Process(demo.pid).children(recursive=True):
                try:
                    command_lines.add(" ".join(child.cmdline()))
                    secrets |= {v for name, v in child.environ().items() if name in ("SMS_PASSWORD", "SMS_PUSH_TOKEN")}
                except psutil.Error:
                    continue
        shown, errors = demo.communicate()
    assert (demo.returncode, errors) == (0, "")
    assert (shown.count("✓"), shown.count("✗")) == (5, 0), shown
    assert "batch: 120 delivered" in shown
    assert "122 in 5 calls, 0 again" in shown
    assert running_in(tmp_path) == []
    assert list(tmp_path.iterdir()) == []
    assert len(command_lines) >= len(PROCESSES)
    secrets -= set(HOSTILE.values())
    assert len(secrets) == 2
    assert [line for line in command_lines if any(secret in line for secret in secrets)] == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("processes_started", [0, 2, 5])
def test_it_ends_cleanly_while_it_starts(tmp_path: Path, number: signal.Signals, processes_started: int) -> None:
    with sms("demo", cwd=tmp_path) as demo:
        assert demo.stdout is not None
        assert "Starting" in demo.stdout.readline()
        while len(psutil.Process(demo.pid).children()) < processes_started:
            pass
        end_it(demo, number, tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_ends_cleanly_while_it_sends_and_keeps_a_directory_that_was_named(
    tmp_path: Path, number: signal.Signals
) -> None:
    with sms("demo", "--directory", "here it is", cwd=tmp_path) as demo:
        assert demo.stdout is not None
        assert any("submitting" in line for line in demo.stdout)
        end_it(demo, number, tmp_path)
    assert {f"{name}.log" for name in PROCESSES} < {path.name for path in (tmp_path / "here it is").iterdir()}


def end_it(demo: subprocess.Popen[str], number: signal.Signals, directory: Path) -> None:
    demo.send_signal(number)
    _, errors = demo.communicate(timeout=20)
    assert demo.returncode == 128 + number
    assert errors == f"sms demo: {number.name}, so all is ended; nothing is left running\n"
    assert running_in(directory) == []


def ended(process: subprocess.Popen[str]) -> bool:
    """Whether the process has ended, or ends within a moment."""
    with suppress(subprocess.TimeoutExpired):
        process.wait(0.01)
    return process.returncode is not None


SENT = [_Sent("batch", "1", ["13900000000", "13900000001"]), _Sent("question", "2", ["13700137000"])]
ALL_TAKEN = [{"mobiles": SENT[0].mobiles}, {"mobiles": SENT[1].mobiles}]
SEEN = _Seen(
    counts={"batch": {"delivered": 2}, "question": {"delivered": 1}},
    replies=[("13700137000", REPLY)],
    calls=ALL_TAKEN,
    sums={"reports": {"made": 3, "acknowledged": 3}, "replies": {"made": 1, "acknowledged": 1}},
)


def test_its_checks_hold_when_all_went_well() -> None:
    assert all(check.holds for check in _checks(SENT, SEEN))


@pytest.mark.parametrize(
    ("spoilt", "failing"),
    [
        ({"counts": {**SEEN.counts, "batch": {"delivered": 1, "accepted": 1}}}, [0]),
        ({"calls": [*ALL_TAKEN, {"mobiles": ["13700137000"]}]}, [1]),
        ({"calls": ALL_TAKEN[:1]}, [1]),
        ({"calls": [*ALL_TAKEN, {"mobiles": ["13100000000"]}]}, [1]),
        ({"calls": [{"mobiles": ["13900000000"] * 51}]}, [1, 2]),
        ({"sums": {**SEEN.sums, "reports": {"made": 3, "acknowledged": 2}}}, [3]),
        ({"replies": []}, [4]),
        ({"replies": SEEN.replies * 2}, [4]),
    ],
)
def test_its_checks_fail_on_what_went_wrong(spoilt: dict[str, Any], failing: list[int]) -> None:
    checks = _checks(SENT, replace(SEEN, **spoilt))
    assert [number for number, check in enumerate(checks) if not check.holds] == failing

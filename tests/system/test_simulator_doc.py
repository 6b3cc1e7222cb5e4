"""docs/simulator.md, its blocks run as they stand there, by a shell that is no bash, on a stack like the one of `sms up`."""

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from processes import SMS

from worker.cli.up import write_environment
from worker.devstack.stack import Stack

pytestmark = [
    # The simulator is the same beside either ledger.
    pytest.mark.parametrize("stack", ["sqlite"], indirect=True),
    pytest.mark.skipif(not shutil.which("curl"), reason="curl is not on this machine"),
]

REPO = Path(__file__).parents[2]
BLOCKS = {
    heading: re.findall(r"```sh\n(.*?)```", section, re.DOTALL)
    for heading, section in re.findall(
        r"^## (.*?)\n(.*?)(?=^## |\Z)", (REPO / "docs" / "simulator.md").read_text(), re.MULTILINE | re.DOTALL
    )
}
[REACH] = BLOCKS["How to reach it"]
TIME_IS_OVER = "the time is over, and some statuses are not final; look again with `sms show`\n"
FAULTS = {"script": [], "default": {"do": "ok"}, "latency_ms": 0, "pushes": {}}


@pytest.fixture
def place(stack: Stack, tmp_path: Path) -> Iterator[Path]:
    """A folder such as that of a clone in which `sms up` runs."""
    (tmp_path / ".sms").mkdir()
    write_environment(stack).rename(tmp_path / ".sms" / "environment")
    (tmp_path / ".venv").symlink_to(Path(SMS[0]).parents[1])
    yield tmp_path
    stack.ask_simulator("behave", FAULTS)


def said(place: Path, *blocks: str) -> str:
    """What the blocks print, after those of "How to reach it"."""
    script = "\n".join([REACH, 'echo ">>>"', *blocks])
    done = subprocess.run(
        ["sh", "-uc", script], cwd=place, env={"PATH": "/usr/bin:/bin", "LANG": "C.UTF-8", "COLUMNS": "200"},
        capture_output=True, text=True, timeout=100, check=False,
    )  # fmt: skip
    assert done.stderr in ("", TIME_IS_OVER)
    assert '"error"' not in done.stdout
    return done.stdout.partition(">>>")[2]


def message_in(place: Path, shown: str) -> dict[str, Any]:
    """The message whose id was printed, as `sms show` has it now."""
    [message_id] = set(re.findall(r"\b[0-9a-f]{8}-[0-9a-f-]{27}\b", shown))
    message: dict[str, Any] = json.loads(said(place, f"sms show {message_id} --json"))
    return message


@pytest.mark.usefixtures("stack")
def test_every_block_is_run_here() -> None:
    assert [heading for heading, blocks in BLOCKS.items() if blocks] == [
        "How to reach it",
        "How to reset it",
        "How to make the gateway slow",
        "How to make it busy",
        "How to give a call no answer",
        "How to close a gate",
        "How to have a mobile reply",
        "How to have texts reported as undelivered",
        "How to send a push that nobody can read",
    ]


def test_a_reset_ends_every_fault_and_empties_the_log(stack: Stack, place: Path) -> None:
    stack.ask_simulator("behave", {"default": {"do": "http", "status": 503}})
    assert '"ok": true' in said(place, *BLOCKS["How to reset it"])
    assert stack.ask_simulator("behave", {})["default"]["do"] == "ok"
    assert json.loads(said(place, 'curl -sS "$SIM/summary"'))["calls_taken"] == 0


def test_a_slow_gateway_takes_its_time(stack: Stack, place: Path) -> None:
    message = message_in(place, said(place, *BLOCKS["How to make the gateway slow"]))
    assert message["counts"] == {"delivered": 1}
    assert stack.ask_simulator("behave", {})["latency_ms"] == 3000


def test_a_busy_gateway_takes_the_third_call(stack: Stack, place: Path) -> None:
    message = message_in(place, said(place, *BLOCKS["How to make it busy"]))
    assert message["counts"] == {"delivered": 1}
    assert stack.ask_simulator("summary")["calls_refused"] == 2


def test_a_call_without_an_answer_is_unknown(place: Path) -> None:
    shown = said(place, *BLOCKS["How to give a call no answer"])
    sent, _, listed = shown.partition("unknown")
    assert listed
    assert message_in(place, sent)["counts"] == {"unknown": 1}


def test_a_wrong_password_closes_the_gate_and_the_message_goes_once_it_is_open(stack: Stack, place: Path) -> None:
    close, put_right = BLOCKS["How to close a gate"]
    try:
        shown = said(place, close)
        assert "closed" in shown
        assert message_in(place, shown)["counts"] == {"held": 1}
    finally:
        said(place, put_right)
    stack.wait_for("the message", lambda: message_in(place, shown)["counts"] == {"delivered": 1}, seconds=30)


def test_a_mobile_replies(stack: Stack, place: Path) -> None:
    said(place, *BLOCKS["How to have a mobile reply"])
    stack.wait_for("the reply", lambda: "谢谢" in said(place, "sms replies"), seconds=20)


def test_a_text_is_reported_as_undelivered(place: Path) -> None:
    message = message_in(place, said(place, *BLOCKS["How to have texts reported as undelivered"]))
    assert message["counts"] == {"delivered": 1, "undelivered": 1}


def test_a_push_that_nobody_can_read_is_quarantined(stack: Stack, place: Path) -> None:
    assert '"success": true' in said(place, *BLOCKS["How to send a push that nobody can read"])
    listed = "sms pushes --state quarantined --json"
    stack.wait_for("the push", lambda: "XML" in said(place, listed), seconds=20)

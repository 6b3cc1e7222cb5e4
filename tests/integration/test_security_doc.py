"""The commands of docs/security.md do what it says."""

import re
import shlex
from pathlib import Path

import pytest
from ledger_driver import Ledger, mobile, reply_push
from sms_command import sms

DOC = Path(__file__).parents[2] / "docs" / "security.md"
COMMANDS = [line for block in re.findall(r"```sh\n(.*?)```", DOC.read_text(), re.DOTALL) for line in block.splitlines()]


@pytest.mark.parametrize("command", [*COMMANDS, "sms optout undo --push 1", "sms pushes revoke 1"])
def test_the_command_can_be_run_as_it_stands(
    ledger: Ledger, ledger_url: str, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    monkeypatch.setenv("SMS_LEDGER_URL", ledger_url)
    ledger.sent_to(mobile(1))
    assert ledger.push(reply_push((mobile(1), "7", "TD"))) == 1
    program, *arguments = shlex.split(command)
    assert program == "sms"
    done = sms(*arguments)
    assert done.exit_code == 0, done.output

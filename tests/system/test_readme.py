"""The README's examples, run as they stand there, on a stack like the one of `sms up`."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from celery import Celery
from processes import SMS
from sqlalchemy import Engine, text

from worker.devstack.stack import Stack

pytestmark = pytest.mark.beside

REPO = Path(__file__).parents[2]
README = (REPO / "README.md").read_text()
SHELL = [line for block in re.findall(r"```sh\n(.*?)```", README, re.DOTALL) for line in block.splitlines()]
COMMANDS = [line for line in SHELL if line.startswith("sms ")]
PYTHON = re.findall(r"```python\n(.*?)```", README, re.DOTALL)


def run(command: list[str], stack: Stack) -> str:
    command = [*SMS, *command[1:]] if command[0] == "sms" else command
    done = subprocess.run(
        command, cwd=REPO, env=stack.environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def message_id(stack: Stack) -> str:
    return run(["sms", "send", "--to", "13800138000", "--content", "您好"], stack).split()[-1]


@pytest.mark.parametrize("line", COMMANDS)
def test_a_command_of_the_readme_does_what_it_says(line: str, stack: Stack, message_id: str) -> None:
    command = shlex.split(line.replace("MESSAGE_ID", message_id))
    assert run(command, stack)


def test_the_readmes_other_commands_are_those_of_run_py() -> None:
    other = {line for line in SHELL if line and not line.startswith("sms ")}
    assert other == {
        "python3 run.py demo",
        "python3 run.py test",
        "python3 run.py sms up",
        "source .sms/environment",
        "source .venv/bin/activate",
    }


def test_the_readmes_client_sends_a_message(stack: Stack, ledger: Engine) -> None:
    client, _ = PYTHON
    sent = run([sys.executable, "-c", client + "\nprint(message_id)"], stack).strip()
    stack.wait_for("the message", lambda: has(ledger, sent))


def test_the_readmes_task_by_name_sends_a_message(stack: Stack, ledger: Engine) -> None:
    _, by_name = PYTHON
    app = Celery(broker=stack.redis_url, set_as_current=False)
    task = eval(by_name, {"app": app})
    stack.wait_for("the message", lambda: has(ledger, task.id))


def has(ledger: Engine, message_id: str) -> bool:
    with ledger.connect() as connection:
        found = connection.execute(text("SELECT 1 FROM messages WHERE public_id = :id"), {"id": message_id})
        return found.first() is not None

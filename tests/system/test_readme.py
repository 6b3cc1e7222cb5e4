"""The commands of the README and of docs/, run as they stand there, on a stack like the one of `sms up`."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

from processes import SMS
from sqlalchemy import Engine, text

from worker.devstack.stack import Stack

REPO = Path(__file__).parents[2]
README = (REPO / "README.md").read_text()
ELSEWHERE = {"campaigns.md", "security.md", "simulator.md"}
"""Their commands are run by test_campaigns_doc.py, tests/integration/test_security_doc.py and test_simulator_doc.py."""
DOCUMENTS = [README, *(path.read_text() for path in sorted((REPO / "docs").glob("*.md")) if path.name not in ELSEWHERE)]
SHELL = [
    line
    for document in DOCUMENTS
    for block in re.findall(r"```sh\n(.*?)```", document, re.DOTALL)
    for line in block.splitlines()
]
COMMANDS = list(dict.fromkeys(line for line in SHELL if line.startswith("sms ")))
(CLIENT,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)


def run(command: list[str], stack: Stack) -> str:
    command = [*SMS, *command[1:]] if command[0] == "sms" else command
    done = subprocess.run(
        command, cwd=REPO, env=stack.environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, f"{shlex.join(command)}: {done.stderr}"
    return done.stdout


def sent(stack: Stack) -> str:
    """The id of a message that has been sent."""
    return run(["sms", "send", "--to", "13800138000", "--content", "您好"], stack).split()[-1]


def test_the_commands_of_the_documents_do_what_they_say_in_their_order(stack: Stack) -> None:
    message_id = sent(stack)
    for line in COMMANDS:
        assert run(shlex.split(line.replace("MESSAGE_ID", message_id)), stack), line


def test_the_other_commands_of_the_documents_are_those_of_run_py() -> None:
    other = {line for line in SHELL if line and not line.startswith("sms ")}
    assert other == {
        "python3 run.py demo",
        "python3 run.py test",
        "python3 run.py sms up",
        ". .sms/environment",
        ". .venv/bin/activate",
    }


def test_the_readmes_client_sends_a_message(stack: Stack, ledger: Engine) -> None:
    sent = run([sys.executable, "-c", CLIENT + "\nprint(message_id)"], stack).strip()
    stack.wait_for("the message", lambda: has(ledger, sent))


def has(ledger: Engine, message_id: str) -> bool:
    with ledger.connect() as connection:
        rows = connection.execute(text("SELECT 1 FROM messages WHERE public_id = :id"), {"id": message_id})
        return rows.first() is not None

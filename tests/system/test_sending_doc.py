"""The examples of docs/sending.md, run as they stand there on a stack like that of `sms up`."""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

from processes import SMS

from worker.devstack.stack import Stack

REPO = Path(__file__).parents[2]
DOC = (REPO / "docs" / "sending.md").read_text()
MANY, CELERY, BY_NAME, WITH_MORE_FIELDS = re.findall(r"```python\n(.*?)```", DOC, re.DOTALL)


def run(command: list[str], stack: Stack) -> str:
    done = subprocess.run(
        command, cwd=REPO, env=stack.environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def shown(stack: Stack, message_id: str, status: str) -> dict[str, Any]:
    """Returns what `sms show` prints once all recipients of the message have that status."""

    def answer() -> Any:
        command = [*SMS, "show", message_id, "--json"]
        done = subprocess.run(command, env=stack.environment, capture_output=True, text=True, timeout=60, check=False)
        # One by name is nowhere until a worker has taken its task.
        message = json.loads(done.stdout or "{}")
        return message if list(message.get("counts", ())) == [status] else None

    message: dict[str, Any] = stack.wait_for(f"message {message_id} to be {status}", answer, seconds=20)
    return message


def test_the_many_of_the_docs_are_sent_now_and_later(stack: Stack) -> None:
    ids = json.loads(run([sys.executable, "-c", MANY + "\nimport json; print(json.dumps(ids))"], stack))
    now, later = shown(stack, ids[0], "delivered"), shown(stack, ids[1], "held")
    assert (now["caller"], now["metadata"]) == ("shop", {"order": 4711})
    assert (later["caller"], later["metadata"], len(later["recipients"])) == ("shop", None, 2)


def sent_by_name(example: str, stack: Stack) -> str:
    """Sends the task of an example as an app does, with the rights of one. Returns the id of its message."""
    app = stack.apart(SMS_REDIS_URL=stack.redis_url_of("producer"))
    return run([sys.executable, "-c", f"{CELERY}\ntask = {example}\nprint(task.id)"], app).strip()


def test_the_task_of_the_docs_is_sent_in_the_lane_of_its_queue(stack: Stack) -> None:
    assert shown(stack, sent_by_name(BY_NAME, stack), "delivered")["lane"] == "otp"


def test_the_task_of_the_docs_with_more_fields_is_sent_with_all_of_them(stack: Stack) -> None:
    message = shown(stack, sent_by_name(WITH_MORE_FIELDS, stack), "delivered")
    assert (message["lane"], message["caller"], message["metadata"]) == ("notice", "shop", {"order": 4712})

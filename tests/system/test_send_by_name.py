"""A message sent by name, from a program that has Celery and nothing of this project."""

import json
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import Engine, select

from worker.devstack.stack import Stack
from worker.ledger import tables as t
from worker.ledger.engine import reading
from worker.ledger.sending import message_queries

STRANGER = """
import json, sys
sys.path.append(sys.argv[1])
try:
    import worker
except ModuleNotFoundError:
    from celery import Celery
else:
    sys.exit(f"this project is there: {worker.__file__}")
app = Celery(broker=sys.argv[2])
for kwargs in json.load(sys.stdin):
    print(app.send_task("sms.send", kwargs=kwargs, queue="sms.otp").id)
"""


def send_by_name(stack: Stack, directory: Path, *kwargs: dict[str, Any]) -> list[str]:
    """Sends a task with each of these keyword arguments, from a foreign program. Returns the ids of the tasks."""
    # -I and -S: neither the directory, nor the environment, nor what installed the project here has a say.
    command = [sys.executable, "-I", "-S", "-c", STRANGER, sysconfig.get_path("purelib"), stack.redis_url]
    ran = subprocess.run(
        command, cwd=directory, input=json.dumps(kwargs), capture_output=True, text=True, check=False, timeout=30
    )
    assert ran.returncode == 0, ran.stderr
    return ran.stdout.split()


def arrives(stack: Stack, ledger: Engine, message_id: str, mobiles: int = 1) -> None:
    """Waits until every recipient of the message is delivered."""

    def delivered() -> bool:
        with reading(ledger) as connection:
            message = message_queries.find(connection, message_id)
        return message is not None and message.counts == {"delivered": mobiles}

    stack.wait_for(f"message {message_id} delivered", delivered, seconds=20)


def test_it_arrives_under_the_id_of_its_task(stack: Stack, ledger: Engine, tmp_path: Path) -> None:
    message = {"to": ["13800138001", "+86 138-0013-8002"], "content": "您的验证码是 123456", "lane": "otp"}
    (task_id,) = send_by_name(stack, tmp_path, {"message": message})
    arrives(stack, ledger, task_id, 2)
    (call,) = stack.ask_simulator("calls")["calls"]
    assert (sorted(call["mobiles"]), call["content"]) == (["13800138001", "13800138002"], message["content"])


def test_the_lane_follows_the_queue(stack: Stack, ledger: Engine, tmp_path: Path) -> None:
    (task_id,) = send_by_name(stack, tmp_path, {"message": {"to": "13800138001", "content": "您的验证码是 123456"}})
    arrives(stack, ledger, task_id)
    with reading(ledger) as connection:
        message = message_queries.find(connection, task_id)
    assert message is not None
    assert message.lane == "otp"


BAD = {
    "the lane of another queue": (
        {"to": "13800138003", "content": "您好", "lane": "notice"},
        "lane 'notice' came by the queue sms.otp",
    ),
    "a bad mobile": ({"to": ["12"], "content": "您好"}, "to[0] '12' is too short"),
    "no content": ({"to": ["13800138003"]}, "content is missing"),
    "another lane": ({"to": ["13800138003"], "content": "您好", "lane": "vip"}, "lane 'vip' is unknown"),
    "an unknown field": ({"to": ["13800138003"], "content": "您好", "form": 1}, "form is not a field"),
    "a NUL": ({"to": ["13800138003"], "content": "您\0好"}, "content has the character U+0000"),
    "a NUL in a name": ({"to": ["13800138003"], "content": "您好", "\0": 1}, "is not a field"),
    "half an emoji": ({"to": ["13800138003"], "content": "您好\ud83d"}, "content has the character U+D83D"),
    "half an emoji in a name": ({"to": ["13800138003"], "content": "您好", "\ud83d": 1}, "is not a field"),
    "no mapping": ("13800138003", "and not a mapping"),
    "a list": (["13800138003", "您好"], "and not a mapping"),
    "nothing": (None, "and not a mapping"),
}


@pytest.mark.parametrize(("message", "reason"), BAD.values(), ids=BAD)
def test_a_bad_one_is_kept_with_its_reason_and_the_queue_goes_on(
    stack: Stack, ledger: Engine, tmp_path: Path, message: object, reason: str
) -> None:
    # Another each time: codes to one mobile are capped.
    good = {"to": f"138{uuid4().int % 10**8:08}", "content": "您好"}
    bad_id, good_id = send_by_name(stack, tmp_path, {"message": message}, {"message": good})
    arrives(stack, ledger, good_id)

    def kept() -> Any:
        with reading(ledger) as connection:
            return connection.execute(select(t.refused).where(t.refused.c.id == bad_id)).first()

    row = stack.wait_for("it is refused", kept, seconds=3)
    assert reason in " ".join(json.loads(row.faults))
    assert json.loads(row.payload) == message
    assert stack.ask_simulator("summary")["mobiles_taken"] == 1


def test_fields_that_are_not_in_a_message_are_refused_with_how_to_write_them(
    stack: Stack, ledger: Engine, tmp_path: Path
) -> None:
    (task_id,) = send_by_name(stack, tmp_path, {"to": ["13800138003"], "content": "您好"})

    def kept() -> Any:
        with reading(ledger) as connection:
            return connection.execute(select(t.refused).where(t.refused.c.id == task_id)).first()

    row = stack.wait_for("it is refused", kept, seconds=20)
    [fault] = json.loads(row.faults)
    assert 'kwargs={"message": {"to": …, "content": …}}' in fault

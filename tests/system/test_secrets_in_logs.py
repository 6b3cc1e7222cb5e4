"""A whole system writes no secret to its logs at DEBUG, while it sends, fails and is given what nobody can read."""

import json
import re
import sys
from collections.abc import Iterator
from http.client import HTTPConnection
from urllib.parse import urlsplit
from uuid import uuid4

import pytest
from celery import Celery
from redis import Redis
from sqlalchemy import Table, create_engine, func, make_url, select, text
from stack_probe import states

from worker.client import SmsClient
from worker.devstack.postgres import new_database, running_postgres
from worker.devstack.stack import Stack, running_stack
from worker.domain.lane import QUEUES
from worker.ledger import tables as t
from worker.ledger.engine import open_engine, reading

MESSAGES = 1000
PASSWORD, LEDGER, TOKEN = "gateway-key-4711", "ledger-password-4713", "push-token-4714-abcdef"
STRANGE = "13911112222"
OTPS = [f"Q{n:04}Z" for n in range(MESSAGES)]
MOBILES = [f"1381234{n:04}" for n in range(MESSAGES)]


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with running_postgres() as server:
        url = make_url(new_database(server))
        with open_engine(url).begin() as connection:
            connection.execute(text(f"CREATE ROLE planted SUPERUSER LOGIN PASSWORD '{LEDGER}'"))
        ledger = url.set(username="planted", password=LEDGER).render_as_string(hide_password=False)
        settings = {
            "SMS_PASSWORD": PASSWORD,
            "SIM_PASSWORD": PASSWORD,
            "SMS_PUSH_TOKEN": TOKEN,
            "SMS_GATEWAY_METHOD": "get",
        }
        directory = tmp_path_factory.mktemp("stack")
        with running_stack(directory, ledger_url=ledger, settings=settings, concurrency=4) as running:
            running.stop("worker")
            options = ["-Q", ",".join(QUEUES), "--pool", "threads", "--concurrency", "4", "--loglevel", "DEBUG"]
            running.start("worker", sys.executable, "-m", "celery", "-A", "worker.app", "worker", *options)
            yield running


def test_no_log_of_a_system_in_trouble_shows_a_secret_a_text_or_a_whole_mobile(stack: Stack) -> None:
    SmsClient(stack.redis_url).send_many(
        [{"to": to, "content": f"您的验证码是 {otp}", "lane": "otp"} for to, otp in zip(MOBILES, OTPS, strict=True)]
    )
    give_what_nobody_can_read(stack)
    for count in (50, 300, 600):
        stack.wait_for(
            "some sent", lambda least=count: stack.ask_simulator("summary")["mobiles_taken"] >= least, seconds=60
        )
        end_the_sessions(stack)
    push(stack, TOKEN, f"<reports><report><mobile>{STRANGE}</mobile><text>{OTPS[0]}</text>")
    push(stack, "a-wrong-token-4715", f"<mobile>{STRANGE}</mobile>")
    stack.wait_for(
        "all settled", lambda: set(states(stack)) <= {"accepted", "unknown"} and sum(states(stack).values()) >= MESSAGES
    )
    stack.wait_for("the strange ones kept", lambda: rows(stack, t.refused) >= 3)
    stack.wait_for("the push kept", lambda: rows(stack, t.pushes))
    logs = {path.name: path.read_text(errors="replace") for path in stack.directory.glob("*.log")}
    assert "DEBUG" in logs["worker.log"]
    passwords = [*stack.ledger_passwords.values(), *stack.redis_passwords.values()]
    assert {name: leaks for name, said in logs.items() if (leaks := shown(said, passwords))} == {}


def shown(said: str, passwords: list[str]) -> list[str]:
    """The planted secrets and the passwords of the roles that are in that log."""
    planted = (PASSWORD, LEDGER, TOKEN, "验证码", "%E9%AA%8C%E8%AF%81%E7%A0%81", "a-wrong-token-4715")
    secrets = [secret for secret in (*planted, *passwords) if secret in said]
    return secrets + re.findall(r"Q\d{4}Z", said)[:3] + re.findall(r"1381234\d{4}|13911112222", said)[:3]


def give_what_nobody_can_read(stack: Stack) -> None:
    app = Celery(broker=stack.redis_url, set_as_current=False)
    message = {"to": [STRANGE], "content": f"您的验证码是 {OTPS[0]}"}
    app.send_task("sms.sned", kwargs={"message": message}, queue="sms.otp")
    app.send_task("sms.send", args=[message], kwargs={"massage": message}, queue="sms.otp")
    frame = {
        "body": f"{{{STRANGE} {OTPS[0]}",
        "headers": {"task": "sms.send", "id": str(uuid4()), "lang": "py"},
        "content-type": "application/json",
        "content-encoding": "utf-8",
        "properties": {"delivery_tag": str(uuid4()), "delivery_info": {"exchange": "", "routing_key": "sms.otp"}},
    }
    with Redis.from_url(stack.redis_url) as redis:
        redis.lpush("sms.otp", json.dumps(frame))


def end_the_sessions(stack: Stack) -> None:
    engine = create_engine(make_url(stack.ledger_url).set(drivername="postgresql+psycopg"))
    with engine.begin() as connection:
        connection.execute(
            text("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'sms-worker'")
        )
    engine.dispose()


def push(stack: Stack, token: str, body: str) -> None:
    connection = HTTPConnection(urlsplit(stack.callback_url).netloc, timeout=30)
    connection.request("POST", f"/push/{token}", body.encode())
    connection.getresponse().read()
    connection.close()


def rows(stack: Stack, table: Table) -> int:
    engine = open_engine(stack.ledger_url)
    with reading(engine) as connection:
        count = connection.execute(select(func.count()).select_from(table)).scalar_one()
    engine.dispose()
    return count

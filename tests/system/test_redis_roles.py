"""The processes of the system, each as a user of Redis that may do what its role is for."""

import psutil
import pytest
from celery import Celery
from redis import Redis
from stack_probe import simulator

from worker.client import SmsClient
from worker.devstack.stack import Stack


def test_an_app_that_may_only_put_sends_by_client_and_by_name(stack: Stack) -> None:
    url = stack.redis_url_of("producer")
    SmsClient(url, caller="shop").send("13800138002", "您的验证码是 123456", lane="otp", key="login-4711")
    message = {"to": ["13800138001"], "content": "您的订单已发货"}
    Celery(broker=url, set_as_current=False).send_task("sms.send", kwargs={"message": message}, queue="sms.notice")
    stack.wait_for("both at the gateway", lambda: simulator(stack, "mobiles_taken") == 2)


@pytest.mark.parametrize("role", ["worker", "beat", "callback"])
def test_a_process_is_known_to_redis_by_its_role_alone(stack: Stack, role: str) -> None:
    first = psutil.Process(stack.processes[role].pid)
    with Redis.from_url(stack.redis_url) as redis:
        users = {int(client["addr"].rpartition(":")[2]): client["user"] for client in redis.client_list()}
    ports = [
        link.laddr.port for process in (first, *first.children(recursive=True)) for link in process.net_connections()
    ]
    assert {users[port] for port in ports if port in users} == {role}

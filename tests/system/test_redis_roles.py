"""The processes of the system, each as a user of Redis that may do what its role is for."""

from celery import Celery
from redis import Redis
from stack_of import simulator

from worker.cli.stack import Stack
from worker.client import SmsClient


def test_an_app_that_may_only_put_sends_by_client_and_by_name(stack: Stack) -> None:
    url = stack.redis_url_of("producer")
    SmsClient(url, caller="shop").send("13800138000", "您的验证码是 123456", lane="otp", key="login-4711")
    message = {"to": ["13800138001"], "content": "您的订单已发货"}
    Celery(broker=url, set_as_current=False).send_task("sms.send", kwargs={"message": message}, queue="sms.notice")
    stack.wait_for("both at the gateway", lambda: simulator(stack, "mobiles_taken") == 2)


def test_each_process_is_a_user_of_its_own(stack: Stack) -> None:
    with Redis.from_url(stack.redis_url) as redis:
        linked = redis.client_list()
        assert {one["user"] for one in linked if one["cmd"] == "brpop"} == {"worker"}
        assert {"worker", "beat", "callback"} <= {one["user"] for one in linked}

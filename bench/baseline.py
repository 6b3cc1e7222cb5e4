"""The baseline: the call as most programs make it, in a loop and in a Celery task. It stores nothing.

`celery -A bench.baseline worker` runs the task. `python -m bench.baseline CONCURRENCY COUNT` runs the loop: it makes a
call with each thread, waits for SIGCONT, makes COUNT more calls, and waits to be ended.
"""

import hashlib
import os
import signal
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from functools import cache

import requests
from celery import Celery
from requests.adapters import HTTPAdapter

# The rest are Celery's defaults: each thread fetches four tasks ahead, and acknowledges them before they run.
app = Celery("bench.baseline", broker=os.environ.get("SMS_REDIS_URL"))


TASK = "bench.send"


@app.task(name=TASK, ignore_result=True)  # type: ignore[untyped-decorator]  # Celery has no type hints
def send(number: int) -> None:
    call(number)


def message(number: int) -> tuple[str, str]:
    """The mobile and the content of a message. Both differ for each number."""
    return f"138{number:08}", f"您的订单{number:08}已发货，预计明天送达，请注意查收。"


def call(number: int) -> None:
    """Calls the gateway with this message as the document says. Raises RuntimeError unless it answers 1."""
    mobile, content = message(number)
    account = [os.environ[name] for name in ("SMS_EPR_ID", "SMS_USER_ID", "SMS_PASSWORD")]
    timestamp = str(int(time.time() * 1000))
    key = hashlib.md5("".join([*account, timestamp]).encode()).hexdigest()
    answer = _session().post(
        os.environ["SMS_GATEWAY_URL"],
        data={
            "cmd": "send",
            "eprId": account[0],
            "userId": account[1],
            "timestamp": timestamp,
            "key": key,
            "msgId": number,
            "format": 1,
            "mobile": mobile,
            "content": content,
        },
        timeout=(5, 30),
    )
    answer.raise_for_status()
    if str(answer.json()["result"]) != "1":
        raise RuntimeError(answer.text)


@cache
def _session() -> requests.Session:
    session = requests.Session()
    # By default it keeps ten connections. More threads than that would open a new one for most calls.
    session.mount("http://", HTTPAdapter(pool_maxsize=1000))
    return session


def loop(concurrency: int, count: int) -> None:
    # Blocked before any thread starts, so that the signal waits for sigwait.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCONT})
    with ThreadPoolExecutor(concurrency) as pool:
        list(pool.map(call, range(1, 1 + concurrency)))
        signal.sigwait({signal.SIGCONT})
        list(pool.map(call, range(1 + concurrency, 1 + concurrency + count)))
    signal.pause()


if __name__ == "__main__":
    loop(*map(int, sys.argv[1:]))

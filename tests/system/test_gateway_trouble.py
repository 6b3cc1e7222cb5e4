"""A gateway in trouble costs a few calls, and not all that is due. A worker that alone cannot reach it stops, and the
others go on.
"""

import json
import socket
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from itertools import count
from pathlib import Path
from threading import Thread
from urllib.parse import urlsplit

import pytest
from processes import SMS
from redis import Redis
from simulator_driver import CallbackServer
from sqlalchemy import Engine, func, select

from worker.client import SmsClient
from worker.config import Settings
from worker.devstack.stack import Stack, running_stack, start_worker
from worker.devstack.valkey import waiting_clients
from worker.domain.lane import CALLS_AT_ONCE
from worker.ledger import tables as t
from worker.ledger.engine import open_engine, reading
from worker.ledger.sending import gates
from worker.sending.reachability import IN_A_ROW

pytestmark = [
    pytest.mark.beside,
    pytest.mark.long("lasts as long as the trouble, five times"),
]

MESSAGES = 3_000
CONCURRENCY = 4
AT_ONCE = CONCURRENCY * CALLS_AT_ONCE
FEWER = 3_000
TROUBLE_SECONDS = 12
PROBES = 3
"""The probes, after 3, 6 and 12 seconds."""


def states(ledger: Engine) -> Counter[str]:
    with reading(ledger) as connection:
        rows = connection.execute(select(t.submissions.c.state, func.count()).group_by(t.submissions.c.state))
        return Counter(dict(rows.all()))


def attempts(ledger: Engine) -> int:
    with reading(ledger) as connection:
        return int(connection.execute(select(func.sum(t.submissions.c.attempt))).scalar_one())


def is_open(ledger: Engine) -> bool:
    with reading(ledger) as connection:
        return all(gate.is_open for gate in gates.gates(connection))


def send(stack: Stack, count: int, prefix: str = "139") -> None:
    SmsClient(stack.redis_url).send_many(
        {"to": f"{prefix}{number:08}", "content": f"第 {number} 条"} for number in range(count)
    )


@pytest.mark.timeout(180)
@pytest.mark.parametrize(
    "trouble", [{"do": "http", "status": 502}, {"do": "garbage", "take": False}], ids=["502", "garbage"]
)
def test_a_gateway_that_answers_nonsense_for_a_while_leaves_no_more_unknown_than_are_under_way_and_a_few(
    tmp_path: Path, trouble: dict[str, object]
) -> None:
    with running_stack(tmp_path / "stack", concurrency=CONCURRENCY, settings={"SMS_RATE": "300"}) as stack:
        ledger = open_engine(stack.ledger_url)
        send(stack, MESSAGES)
        stack.wait_for("some are out", lambda: states(ledger)["accepted"] > 100)
        stack.ask_simulator("behave", {"default": trouble})
        over = time.monotonic() + TROUBLE_SECONDS
        stack.wait_for("the gate is closed", lambda: not is_open(ledger), seconds=5)
        stack.wait_for("the trouble to pass", lambda: time.monotonic() > over)
        stack.ask_simulator("behave", {"default": {"do": "ok"}})
        stack.wait_for("a probe opens the gate", lambda: is_open(ledger), seconds=30)
        stack.wait_for("all others are out", lambda: not states(ledger).keys() - {"accepted", "unknown"}, seconds=60)
        unknown = states(ledger)["unknown"]
        assert 0 < unknown <= AT_ONCE + Settings.model_fields["unknown_in_a_row"].default + PROBES
        assert states(ledger)["accepted"] == MESSAGES - unknown
        assert stack.log("worker").read_text().count("the gate of account default is closed") == 1
        ledger.dispose()


@pytest.mark.timeout(180)
def test_a_worker_that_alone_cannot_reach_the_gateway_stops_itself_and_the_others_go_on(tmp_path: Path) -> None:
    with running_stack(tmp_path / "stack", concurrency=CONCURRENCY) as stack, no_way_yet(stack) as (nowhere, let_out):
        ledger = open_engine(stack.ledger_url)
        stack.environment["SMS_GATEWAY_URL"] = nowhere
        start_sick_worker(stack)
        send(stack, FEWER)
        stack.wait_for("it stops", lambda: "takes nothing until it does" in stack.log("sick").read_text())
        stack.wait_for("all are out", lambda: states(ledger) == {"accepted": FEWER}, seconds=60)
        assert is_open(ledger)
        # The calls under way when the worker noticed, and those before, by which it noticed.
        assert IN_A_ROW <= attempts(ledger) - FEWER <= IN_A_ROW + AT_ONCE
        assert stack.log("sick").read_text().count("takes nothing until it does") == 1
        assert "takes nothing until it does" not in stack.log("worker").read_text()
        assert len(sick_in_doctor(stack)) == 1

        let_out()
        stack.wait_for("it is well", lambda: "reaches the gateway again" in stack.log("sick").read_text(), seconds=15)
        assert sick_in_doctor(stack) == []
        stack.stop("worker")
        send(stack, 100, "138")
        stack.wait_for("it sends", lambda: states(ledger) == {"accepted": FEWER + 100}, seconds=30)
        ledger.dispose()


@pytest.mark.timeout(180)
@pytest.mark.parametrize(("status", "lost"), [(502, "unknown"), (404, "rejected")])
def test_a_worker_with_a_proxy_that_answers_for_the_gateway_stops_itself_and_the_others_go_on(
    tmp_path: Path, status: int, lost: str
) -> None:
    stack_up = running_stack(tmp_path / "stack", concurrency=CONCURRENCY, settings={"SMS_RATE": "200"})
    with closing(CallbackServer()) as proxy, stack_up as stack:
        proxy.answer = lambda _: (status, b"the proxy says no")
        ledger = open_engine(stack.ledger_url)
        send(stack, 100, "138")
        stack.wait_for("the gateway takes some", lambda: states(ledger)["accepted"] == 100)
        stack.environment["SMS_GATEWAY_URL"] = proxy.url
        start_sick_worker(stack)
        client, numbers = SmsClient(stack.redis_url), count()

        def stops() -> bool:
            """Sends more messages, because the worker finds out by its own calls. Returns whether it has stopped."""
            client.send_many({"to": f"139{next(numbers):08}", "content": f"第 {n} 条"} for n in range(3))
            return "takes nothing until it does" in stack.log("sick").read_text()

        stack.wait_for("it stops", stops, seconds=60)
        stack.wait_for("all others are out", lambda: not states(ledger).keys() - {"accepted", lost}, seconds=60)
        # The calls under way when the worker noticed, those before, and one at a time to see whether it is answered
        # now.
        assert IN_A_ROW <= states(ledger)[lost] <= IN_A_ROW + AT_ONCE + 10
        assert len(sick_in_doctor(stack)) == 1
        ledger.dispose()


def start_sick_worker(stack: Stack) -> None:
    """Starts one more worker, and returns once it takes tasks: the other one may be done with all before."""
    start_worker(stack, "sick", CONCURRENCY)
    with Redis.from_url(stack.redis_url) as redis:
        stack.wait_for("the sick worker", lambda: waiting_clients(redis) >= 2)


def sick_in_doctor(stack: Stack) -> list[str]:
    done = subprocess.run(
        [*SMS, "doctor", "--json"], cwd=stack.directory, env=stack.environment, capture_output=True, check=False
    )
    return [
        check["name"]
        for check in json.loads(done.stdout)
        if check["name"].startswith(f"worker {socket.gethostname()}/")
    ]


@contextmanager
def no_way_yet(stack: Stack) -> Iterator[tuple[str, Callable[[], None]]]:
    """An address at which nobody listens, and a function that connects it to the gateway."""
    gateway = urlsplit(stack.environment["SMS_GATEWAY_URL"])
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))

        def accept() -> None:
            while True:
                try:
                    here, _ = listener.accept()
                except OSError:
                    return
                there = socket.create_connection((gateway.hostname, gateway.port))
                for source, target in ((here, there), (there, here)):
                    Thread(target=_copy, args=(source, target), daemon=True).start()

        def let_out() -> None:
            listener.listen()
            Thread(target=accept, daemon=True).start()

        yield f"http://127.0.0.1:{listener.getsockname()[1]}{gateway.path}", let_out
        listener.shutdown(socket.SHUT_RDWR)


def _copy(source: socket.socket, target: socket.socket) -> None:
    try:
        while data := source.recv(65536):
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)
    except OSError:
        pass  # closed by either side

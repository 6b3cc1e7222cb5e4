"""Redis killed, emptied, replaced or silent: workers and beat go on by themselves within seconds, and nothing goes twice."""

import shutil
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from urllib.parse import urlsplit

import pytest
from redis import Redis
from stack_probe import simulator, states

from worker.client import SmsClient, Unavailable
from worker.devstack.stack import Stack, running_stack
from worker.domain.lane import CALLS_AT_ONCE
from worker.domain.status import WAITING
from worker.redis_store import intake

GOES_ON_WITHIN = 20
NEW_CONNECTIONS_WITHIN = 60
"""The time for new connections where all are dead without a word. Each is given up by itself, after the 5 s that an
answer may take.
"""
CONCURRENCY = 4
IN_HAND = CONCURRENCY * CALLS_AT_ONCE
"""The calls that a worker has under way."""
MOBILES = 4 * IN_HAND
"""More mobiles than that: the rest waits until a call is over."""
FEW = IN_HAND // 2
"""Half of the calls: the worker could make more."""
KILLS = 3
MANY = 1500
"""So many mobiles that at any moment some are claimed and not called yet."""
AWAY_SECONDS = 7
"""Redis is away for so long that a growing wait between two tries would have grown."""
SOON = 4
"""Twice the longest wait between tries to connect (worker/redis_store/celery_connection.py)."""
SILENT_SECONDS = 12
"""Longer than the wait for a socket (5 s), and for a BRPOP without an answer (1 + 5 s)."""

pytestmark = [pytest.mark.beside, pytest.mark.timeout(180)]
long = pytest.mark.long("waits for answers of a Redis that is away, silent or another one, for ten seconds and more")


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    settings = {"SMS_MAX_MOBILES": "1"}
    with running_stack(tmp_path_factory.mktemp("stack"), concurrency=CONCURRENCY, settings=settings) as running:
        yield running


@pytest.fixture
def busy(stack: Stack) -> Stack:
    """A stack whose worker is amid its calls, with a message that beat is to release in a moment."""
    return put_to_work(stack, MOBILES)


def put_to_work(stack: Stack, mobiles: int) -> Stack:
    stack.ask_simulator("reset", {})
    # All calls are under way at once only for as long as one takes, and the test has to see them then.
    stack.ask_simulator("behave", {"latency_ms": 1500})
    client = SmsClient(stack.redis_url)
    client.send("13900000000", "您的包裹已签收。", at=datetime.now(UTC) + timedelta(seconds=3))
    client.send([f"138{n:08}" for n in range(mobiles)], "您的订单已发货。")
    stack.wait_for("its hands full", lambda: simulator(stack, "calls_in_flight") == min(mobiles, IN_HAND))
    return stack


def send_one(stack: Stack, mobile: str) -> str:
    """Sends a message as soon as Redis is there. Returns its id."""
    client = SmsClient(stack.redis_url)

    def is_sent() -> str | None:
        with suppress(Unavailable):
            return client.send(mobile, "您的退款已到账。")
        return None

    return str(stack.wait_for("a message enqueued", is_sent, seconds=GOES_ON_WITHIN))


def pause(stack: Stack, seconds: float) -> None:
    """Lets time pass. Every process must stay alive in it."""
    until = time.monotonic() + seconds
    stack.wait_for("the end of a pause", lambda: time.monotonic() > until)


def takes_soon(stack: Stack) -> None:
    """Waits until the worker has taken a new message."""
    message_id = send_one(stack, "13600000000")
    with Redis.from_url(stack.redis_url) as redis:
        stack.wait_for("it taken", lambda: not intake.find(redis, message_id), seconds=SOON)


def goes_on(stack: Stack, mobiles: int = MOBILES, *, within: float = GOES_ON_WITHIN) -> None:
    """Waits until all that was sent before has gone out, and a new message too: each once, and from the same processes."""
    send_one(stack, "13700000000")
    stack.wait_for("all of them", lambda: simulator(stack, "mobiles_taken") >= mobiles + 2, seconds=within)
    assert simulator(stack, "mobiles_taken") == mobiles + 2


def test_work_goes_on_after_redis_was_killed_and_restarted(busy: Stack) -> None:
    busy.stop("valkey", kill=True)
    busy.start("valkey")
    goes_on(busy)


@long
def test_a_worker_with_threads_to_spare_outlives_each_time_that_redis_is_killed(stack: Stack) -> None:
    for _ in range(KILLS):
        put_to_work(stack, FEW)
        stack.stop("valkey", kill=True)
        stack.start("valkey")
        takes_soon(stack)
        goes_on(stack, FEW + 1)


@long
def test_what_a_worker_is_just_claiming_when_redis_is_killed_is_sent_once_too(stack: Stack) -> None:
    stack.ask_simulator("reset", {})
    stack.ask_simulator("behave", {"latency_ms": 20})
    SmsClient(stack.redis_url).send([f"137{n:08}" for n in range(MANY)], "您的快递已到。")
    for kill in range(KILLS):
        stack.wait_for("calls", lambda kill=kill: simulator(stack, "calls_taken") > (kill + 0.5) * MANY / KILLS)
        stack.stop("valkey", kill=True)
        pause(stack, AWAY_SECONDS)
        stack.start("valkey")
    stack.wait_for("all of them at their end", lambda: not states(stack).keys() & WAITING, seconds=GOES_ON_WITHIN)
    assert simulator(stack, "mobiles_taken") == MANY
    assert set(states(stack)) == {"accepted"}


@long
def test_tasks_are_taken_soon_after_redis_is_back(stack: Stack) -> None:
    put_to_work(stack, FEW)
    stack.stop("valkey", kill=True)
    pause(stack, AWAY_SECONDS)
    stack.start("valkey")
    takes_soon(stack)
    goes_on(stack, FEW + 1)


def test_work_goes_on_after_redis_was_emptied(busy: Stack) -> None:
    with Redis.from_url(busy.redis_url) as redis:
        redis.flushall()
    goes_on(busy)


@long
def test_work_goes_on_with_an_empty_redis_in_place_of_the_old_one(busy: Stack) -> None:
    busy.stop("valkey", kill=True)
    files = busy.directory / "valkey"
    shutil.rmtree(files)
    files.mkdir()
    busy.start("valkey")
    goes_on(busy)


@long
def test_work_goes_on_after_redis_stood_still(busy: Stack) -> None:
    valkey = busy.processes["valkey"]
    valkey.send_signal(signal.SIGSTOP)
    pause(busy, SILENT_SECONDS)
    valkey.send_signal(signal.SIGCONT)
    goes_on(busy)


@long
def test_work_goes_on_after_the_network_has_forgotten_every_connection(
    stack: Stack, request: pytest.FixtureRequest
) -> None:
    forget = relay(stack)
    request.getfixturevalue("busy")
    forget()
    goes_on(stack, within=NEW_CONNECTIONS_WITHIN)


def relay(stack: Stack) -> Callable[[], None]:
    """Puts a relay between Redis and the worker and beat. Returns a function that makes the relay drop, without a word
    and for good, all that comes on its present connections. A firewall that has lost its table does the same. New
    connections are served.
    """
    generation = 0
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            near, _ = listener.accept()
            far = socket.create_connection(("127.0.0.1", urlsplit(stack.redis_url).port or 0))
            for ends in ((near, far), (far, near)):
                threading.Thread(target=hand_on, args=(*ends, generation), daemon=True).start()

    def hand_on(source: socket.socket, target: socket.socket, born: int) -> None:
        with suppress(OSError):
            while data := source.recv(65_536):
                if born == generation:
                    target.sendall(data)
            target.shutdown(socket.SHUT_WR)

    def forget() -> None:
        nonlocal generation
        generation += 1

    threading.Thread(target=serve, daemon=True).start()
    stack.environment["SMS_REDIS_URL"] = f"redis://127.0.0.1:{listener.getsockname()[1]}/0"
    stack.stop("worker", "beat")
    stack.start("worker")
    stack.start("beat")
    return forget

"""A submission, a real gateway (the simulator, a socket away) and the ledger afterwards: docs/architecture.md."""

import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from ledger_driver import status_push
from redis import Redis
from simulator_driver import EPR_ID, PASSWORD, USER_ID, Simulator, running_simulator
from sqlalchemy import func, select, update

from worker import wiring
from worker.domain.lane import LANES, Lane
from worker.domain.read_message import read_message
from worker.domain.status import State
from worker.gateway.client import endpoint
from worker.inbound.process_push import process_push
from worker.ledger import tables as t
from worker.ledger.inbound import pushes
from worker.sending.pull import Pulled
from worker.sending.submit import submit
from worker.wiring import Parts

READ_TIMEOUT = 0.5


@pytest.fixture(scope="module")
def simulator() -> Iterator[Simulator]:
    with running_simulator() as process:
        yield process


@pytest.fixture
def full_port() -> Iterator[int]:
    """A port where nobody accepts: the queue of connections is full, so the next connection is not answered."""
    with socket.socket() as server, ExitStack() as waiting:
        server.bind(("127.0.0.1", 0))
        server.listen(0)
        for _ in range(3):
            client = waiting.enter_context(socket.socket())
            client.setblocking(False)
            client.connect_ex(server.getsockname())
        yield server.getsockname()[1]


@pytest.fixture
def worker(
    simulator: Simulator, sqlite_url: str, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Parts]:
    """Makes the real parts of a worker, which calls the gateway by that method and format."""
    simulator.post("reset")

    def build(**settings: str) -> Parts:
        given = {
            "SMS_REDIS_URL": redis_url,
            "SMS_LEDGER_URL": sqlite_url,
            "SMS_GATEWAY_URL": f"{simulator.url}/api/webservice",
            "SMS_EPR_ID": EPR_ID,
            "SMS_USER_ID": USER_ID,
            "SMS_PASSWORD": PASSWORD,
            "SMS_READ_TIMEOUT": str(READ_TIMEOUT),
        }
        for name, value in (given | settings).items():
            monkeypatch.setenv(name, value)
        return wiring.build_parts.__wrapped__(concurrency=4)

    return build


def send(worker: Parts, message_id: str = "m") -> int:
    """Accepts one message and submits it once. Returns the id of its submission."""
    message = read_message(
        {"to": "13800138000", "content": "您的验证码是 123456", "id": message_id},
        now=datetime.now(UTC),
        default_id="",
        accounts=worker.base.policy.account_ids,
    )
    worker.sending.accept([message])
    with worker.base.engine.connect() as connection:
        submission_id = connection.execute(select(func.max(t.submissions.c.id))).scalar_one()
    again(worker)
    return submission_id


def again(worker: Parts) -> None:
    """Submits what is due."""
    for claimed in worker.sending.pull(LANES["notice"], 10).claimed:
        means = replace(worker.sending.means, clock=lambda: datetime.now(UTC), random=lambda: 0.0)
        submit(claimed, means, record=worker.sending.records["notice"])


def later(worker: Parts) -> None:
    """Submits what is held, as if its time had come."""
    with worker.base.engine.begin() as connection:
        held = update(t.submissions).where(t.submissions.c.state == "held")
        connection.execute(held.values(due_at=datetime.now(UTC)))
    again(worker)


def row(worker: Parts, submission_id: int) -> dict[str, object]:
    with worker.base.engine.connect() as connection:
        return dict(
            connection.execute(select(t.submissions).where(t.submissions.c.id == submission_id)).mappings().one()
        )


def status(worker: Parts) -> str:
    with worker.base.engine.connect() as connection:
        return connection.execute(select(t.recipient_status.c.status)).scalar_one()


def report(worker: Parts, submission_id: int) -> None:
    """The gateway pushes that the mobile has it."""
    body = status_push(("13800138000", row(worker, submission_id)["msg_id"], 1)).encode()
    with worker.base.engine.begin() as connection:
        push_id = pushes.add(connection, body, source="127.0.0.1", received_at=datetime.now(UTC))
    process_push(worker.base.engine, push_id, worker.accounts_of_pushes, optout_words=worker.base.settings.optout_words)


def waits(worker: Parts, submission_id: int) -> timedelta:
    due_at = row(worker, submission_id)["due_at"]
    assert isinstance(due_at, datetime)
    return due_at - datetime.now(UTC)


WORDS = {
    "1": "成功",
    "0": "失败",
    "-1": "缺少参数",
    "-2": "请求已经过期",
    "-3": "Key验证失败",
    "-4": "Ip验证失败",
    "-5": "eprId不存在",
    "-6": "userId不存在",
    "-7": "定时日期格式不对",
    "-8": "签名不对",
}
CODES = {
    "1": State.ACCEPTED,
    "0": State.HELD,
    "-1": State.REJECTED,
    "-2": State.HELD,
    "-3": State.HELD,
    "-4": State.HELD,
    "-5": State.HELD,
    "-6": State.HELD,
    "-7": State.REJECTED,
    "-8": State.REJECTED,
    "99": State.REJECTED,
}


@pytest.mark.parametrize("method", ["post", "get"])
@pytest.mark.parametrize("response_format", ["json", "xml"])
@pytest.mark.parametrize(("code", "state"), CODES.items(), ids=CODES)
def test_each_result_code_has_its_outcome(
    simulator: Simulator, worker: Callable[..., Parts], method: str, response_format: str, code: str, state: State
) -> None:
    simulator.behave(default={"do": "result", "result": code})
    parts = worker(SMS_GATEWAY_METHOD=method, SMS_GATEWAY_FORMAT=response_format)
    submission_id = send(parts)
    assert (row(parts, submission_id)["state"], row(parts, submission_id)["result"]) == (state, code)
    assert WORDS.get(code, "") in str(row(parts, submission_id)["tips"])
    assert len(simulator.taken()) == (1 if code == "1" else 0)


@dataclass(frozen=True)
class Case:
    """A misbehaviour of the gateway, and what is known and done afterwards."""

    fault: dict[str, object]
    state: State
    calls_taken: int
    waits_about: timedelta | None = None
    settings: dict[str, str] = field(default_factory=dict)


REFUSING = {"SMS_GATEWAY_URL": "http://127.0.0.1:1/api/webservice"}
WIRE = {
    "connection refused": Case({}, State.HELD, 0, timedelta(seconds=5), REFUSING),
    "no such host": Case(
        {}, State.HELD, 0, timedelta(seconds=5), {"SMS_GATEWAY_URL": "http://gateway.invalid/api/webservice"}
    ),
    "TLS that fails": Case(
        {}, State.HELD, 0, timedelta(seconds=5), {"SMS_GATEWAY_URL": "https://127.0.0.1:{simulator}/api/webservice"}
    ),
    "no connection in time": Case(
        {},
        State.HELD,
        0,
        timedelta(seconds=5),
        {"SMS_GATEWAY_URL": "http://127.0.0.1:{full}/api/webservice", "SMS_CONNECT_TIMEOUT": "0.3"},
    ),
    "429 with Retry-After": Case(
        {"do": "http", "status": 429, "retry_after": 40}, State.HELD, 0, timedelta(seconds=40)
    ),
    "503 with Retry-After": Case(
        {"do": "http", "status": 503, "retry_after": 90}, State.HELD, 0, timedelta(seconds=90)
    ),
    "503 alone": Case({"do": "http", "status": 503}, State.HELD, 0, timedelta(seconds=5)),
    "503 where it says nothing": Case(
        {"do": "http", "status": 503}, State.UNKNOWN, 0, settings={"SMS_NOT_TAKEN": "429"}
    ),
    "502 that says that it was not taken": Case(
        {"do": "http", "status": 502}, State.HELD, 0, timedelta(seconds=5), {"SMS_NOT_TAKEN": "429,502,503"}
    ),
    "500 though it took the call": Case({"do": "http", "status": 500, "take": True}, State.UNKNOWN, 1),
    "502": Case({"do": "http", "status": 502}, State.UNKNOWN, 0),
    "504 though it took the call": Case({"do": "http", "status": 504, "take": True}, State.UNKNOWN, 1),
    "403": Case({"do": "http", "status": 403}, State.REJECTED, 0),
    "no answer in time": Case({"do": "hang_before", "seconds": 2}, State.UNKNOWN, 0),
    "no answer in time though it took the call": Case({"do": "hang_after", "seconds": 2}, State.UNKNOWN, 1),
    "a reset before it took the call": Case({"do": "reset_before"}, State.UNKNOWN, 0),
    "a reset after it took the call": Case({"do": "reset_after"}, State.UNKNOWN, 1),
    "a reply cut short": Case({"do": "close_early"}, State.UNKNOWN, 1),
    "garbage": Case({"do": "garbage"}, State.UNKNOWN, 1),
    "an empty reply": Case({"do": "empty"}, State.UNKNOWN, 1),
    "a page": Case({"do": "html"}, State.UNKNOWN, 1),
    "a reply in GBK": Case({"do": "gbk"}, State.ACCEPTED, 1),
    "a reply with another Content-Type": Case(
        {"do": "wrong_content_type", "content_type": "image/png"}, State.ACCEPTED, 1
    ),
    "a result that is a number": Case({"do": "result", "result": 1}, State.ACCEPTED, 1),
    "a result without tips": Case({"do": "result", "result": "1", "tips": None}, State.ACCEPTED, 1),
}


@pytest.mark.parametrize("case", WIRE.values(), ids=WIRE)
def test_each_misbehaviour_of_the_gateway_has_its_outcome_and_a_report_settles_it(
    simulator: Simulator, worker: Callable[..., Parts], full_port: int, case: Case
) -> None:
    if case.fault:
        simulator.fault(**case.fault)
    ports = {"simulator": urlsplit(simulator.url).port, "full": full_port}
    parts = worker(**{name: value.format(**ports) for name, value in case.settings.items()})
    submission_id = send(parts)
    assert row(parts, submission_id)["state"] == case.state, row(parts, submission_id)["tips"]
    assert len(simulator.taken()) == case.calls_taken
    if case.waits_about is not None:
        assert case.waits_about - timedelta(seconds=2) < waits(parts, submission_id) <= case.waits_about
    # Whatever it is, a task that comes again makes no second call.
    again(parts)
    assert len(simulator.taken()) == case.calls_taken
    assert status(parts) == case.state
    report(parts, submission_id)
    assert status(parts) == "delivered"


def test_a_timestamp_that_is_out_of_date_is_corrected_by_the_gateways_clock(
    simulator: Simulator, worker: Callable[..., Parts]
) -> None:
    simulator.behave(date_skew_seconds=3600)
    parts = worker()
    first, second = send(parts, "a"), send(parts, "b")
    assert [row(parts, submission_id)["state"] for submission_id in (first, second)] == ["accepted", "accepted"]
    # Measured once, it holds: only the first call was refused.
    assert simulator.get("summary")["calls_by_answer"] == {"1": 2, "-2": 1}


def test_a_refusal_without_a_reason_is_tried_three_times(simulator: Simulator, worker: Callable[..., Parts]) -> None:
    simulator.behave(default={"do": "result", "result": "0"})
    parts = worker()
    submission_id = send(parts)
    for expected in ("held", "held", "rejected"):
        assert row(parts, submission_id)["state"] == expected
        later(parts)
    assert simulator.get("summary")["calls_by_answer"] == {"0": 3}


def test_a_refusal_without_a_reason_is_tried_three_times_though_the_gateway_was_busy_before(
    simulator: Simulator, worker: Callable[..., Parts]
) -> None:
    simulator.behave(script=[{"do": "http", "status": 429, "times": 3}], default={"do": "result", "result": "0"})
    parts = worker()
    submission_id = send(parts)
    for expected in ("held", "held", "held", "held", "held", "rejected"):
        assert row(parts, submission_id)["state"] == expected
        later(parts)
    assert simulator.get("summary")["calls_by_answer"] == {"http 429": 3, "0": 3}


def test_a_gateway_that_says_come_again_at_once_is_not_called_at_once_and_each_time_later(
    simulator: Simulator, worker: Callable[..., Parts]
) -> None:
    simulator.behave(default={"do": "http", "status": 429, "retry_after": 0})
    parts = worker()
    submission_id = send(parts)
    for seconds in (1, 2, 4, 8):
        assert timedelta(seconds=seconds - 0.9) < waits(parts, submission_id) <= timedelta(seconds=seconds)
        later(parts)


def test_a_call_that_is_late_is_not_made_again(simulator: Simulator, worker: Callable[..., Parts]) -> None:
    simulator.fault(do="hang_after", seconds=2)
    parts = worker()
    submission_id = send(parts)
    assert (row(parts, submission_id)["state"], row(parts, submission_id)["due_at"]) == ("unknown", None)
    for _ in range(3):
        again(parts)
    assert [call["mobiles"] for call in simulator.taken()] == [["13800138000"]]


def test_in_a_lane_that_says_so_a_call_that_may_have_been_taken_is_made_once_more_under_its_msg_id(
    simulator: Simulator, worker: Callable[..., Parts], tmp_path: Path
) -> None:
    (tmp_path / "sms.toml").write_text('[lanes.notice]\nresend_unknown = "once"')
    simulator.behave(default={"do": "reset_after"})
    parts = worker(SMS_CONFIG=str(tmp_path / "sms.toml"))
    submission_id = send(parts)
    for expected in ("held", "unknown", "unknown"):
        assert row(parts, submission_id)["state"] == expected
        later(parts)
    assert [call["msg_id"] for call in simulator.taken()] == [row(parts, submission_id)["msg_id"]] * 2


def test_a_submission_whose_lease_has_no_time_left_for_a_call_is_held_without_one(
    simulator: Simulator, worker: Callable[..., Parts]
) -> None:
    parts = worker()

    def pull_slowly(lane: Lane, places: int) -> Pulled:
        claimed = parts.sending.pull(lane, places).claimed
        return Pulled([replace(submission, until=datetime.now(UTC)) for submission in claimed])

    submission_id = send(replace(parts, sending=replace(parts.sending, pull=pull_slowly)))
    assert (row(parts, submission_id)["state"], simulator.taken()) == ("held", [])


def test_a_lease_outlasts_the_longest_call(worker: Callable[..., Parts]) -> None:
    settings = worker(SMS_READ_TIMEOUT="300", SMS_CONNECT_TIMEOUT="60").base.settings
    assert settings.lease > endpoint(settings).longest


def test_the_parts_do_not_connect_to_redis(worker: Callable[..., Parts], redis: Redis) -> None:
    before = redis.info("stats")["total_connections_received"]
    worker()
    assert redis.info("stats")["total_connections_received"] == before

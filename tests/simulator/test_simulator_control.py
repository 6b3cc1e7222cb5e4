"""The simulator's log of calls, and its answer to an order that it cannot follow."""

import time

import pytest
import requests
from simulator_driver import Simulator


def test_a_taken_call_is_logged_with_all_its_fields(sim: Simulator) -> None:
    before = time.time()
    sim.send(msgId="12", mobile="13800000001,13800000002", content="你好")
    (call,) = sim.taken()
    assert before <= call.pop("arrived_at") <= time.time()
    assert 0 < call.pop("monotonic") <= time.monotonic()
    assert call == {
        "seq": 1,
        "epr_id": "1",
        "user_id": "sword123",
        "msg_id": 12,
        "mobiles": ["13800000001", "13800000002"],
        "content": "你好",
        "handset_text": "【模拟】你好",
        "answer": "1",
    }


def test_the_log_is_read_in_pages(sim: Simulator) -> None:
    for number in range(1, 6):
        sim.send(msgId=str(number))
    page = sim.get("calls", since=2, limit=2)
    assert ([call["msg_id"] for call in page["calls"]], page["last_seq"]) == ([3, 4], 5)
    assert sim.get("calls", since=5)["calls"] == []


def test_a_call_that_was_not_taken_is_kept_apart_without_its_key(sim: Simulator) -> None:
    key = sim.params()["key"]
    sim.send(key=key[::-1], msgId="5")
    refused = sim.get("refused")
    assert (refused["total"], refused["calls"][0]["answer"], refused["calls"][0]["msg_id"]) == (1, "-3", "5")
    assert key[::-1] not in str(refused)
    assert sim.taken() == []


def test_the_summary_counts_what_was_taken_twice(sim: Simulator) -> None:
    for mobile in ("13800000001,13800000002", "13800000001", "13800000001", "13800000003"):
        sim.send(mobile=mobile)
    sim.send(content=None)
    summary = sim.get("summary")
    assert summary["mobiles_repeated"] == {"13800000001": 3}
    names = ("calls_taken", "calls_refused", "mobiles_taken", "mobiles_repeated_total", "max_mobiles_per_call")
    assert [summary[name] for name in names] == [4, 1, 5, 1, 2]
    assert summary["calls_by_answer"] == {"1": 4, "-1": 1}
    assert summary["calls_in_flight"] == 0


def test_an_order_changes_only_what_it_names(sim: Simulator) -> None:
    sim.behave(latency_ms=5, default={"do": "empty"})
    behaviour = sim.behave(seed=3)
    assert (behaviour["latency_ms"], behaviour["default"]["do"], behaviour["seed"]) == (5, "empty", 3)


def test_reset_forgets_calls_and_faults(sim: Simulator) -> None:
    sim.behave(default={"do": "result", "result": 1})
    sim.send()
    sim.post("reset")
    assert sim.taken() == []
    assert sim.result() == "1"


def test_healthz_says_that_the_simulator_is_up(sim: Simulator) -> None:
    assert sim.get("healthz") == {"ok": True}


@pytest.mark.parametrize(
    ("path", "order"),
    [
        ("behave", "{"),
        ("behave", '{"latency": 5}'),
        ("behave", '{"default": {"do": "explode"}}'),
        ("behave", '{"default": {"do": "result"}}'),
        ("behave", '{"default": {"do": "reset_after", "take": false}}'),
        ("behave", '{"fault_rate": {"empty": 2}}'),
        ("behave", '{"fault_rate": {"result": 0.5}}'),
        ("behave", '{"pushes": {"undelivered": 1.5}}'),
        ("reply", '{"mobile": "13800000009", "content": "1"}'),
        ("push", '{"body": "<a/>"}'),
        ("push", "{}"),
    ],
)
def test_an_order_that_cannot_be_followed_is_refused_with_the_reason(sim: Simulator, path, order) -> None:
    response = requests.post(f"{sim.url}/sim/{path}", data=order, timeout=5)
    assert response.status_code == 400
    assert response.json()["error"]

"""Each misbehaviour, seen from the other end of the socket."""

import json
import threading
import time

import pytest
import requests
from simulator_driver import Simulator, eventually


@pytest.mark.parametrize(
    ("fault", "body"),
    [
        ({"result": "99"}, '{"result":"99","tips":"未知错误"}'),
        ({"result": "0"}, '{"result":"0","tips":"失败"}'),
        ({"result": "-3", "tips": "另有说法"}, '{"result":"-3","tips":"另有说法"}'),
        ({"result": "-1", "tips": None}, '{"result":"-1"}'),
        ({"result": 1}, '{"result":1,"tips":"成功"}'),
    ],
    ids=["unknown code", "failed", "other tips", "no tips", "a number"],
)
def test_a_result_is_sent_as_it_was_asked_for(sim: Simulator, fault, body) -> None:
    sim.fault(do="result", **fault)
    assert sim.send().content.decode() == body
    assert len(sim.taken()) == (str(fault["result"]) == "1")


@pytest.mark.parametrize("take", [True, False])
@pytest.mark.parametrize("status", [403, 429, 500, 502, 503, 504])
def test_an_http_error_comes_before_or_after_the_call_was_taken(sim: Simulator, status, take) -> None:
    sim.fault(do="http", status=status, retry_after=7, take=take)
    response = sim.send()
    assert (response.status_code, response.headers["Retry-After"]) == (status, "7")
    assert [call["answer"] for call in sim.taken()] == [f"http {status}"] * take


def test_hang_before_holds_the_connection_then_closes_it_without_an_answer(sim: Simulator) -> None:
    sim.fault(do="hang_before", seconds=0.2)
    began = time.monotonic()
    ended = sim.raw_send()
    assert (ended.received, ended.was_reset) == (b"", False)
    assert time.monotonic() - began >= 0.2
    assert sim.taken() == []


def test_hang_after_takes_the_call_and_answers_when_the_client_is_gone(sim: Simulator) -> None:
    sim.fault(do="hang_after", seconds=0.2)
    with pytest.raises(requests.ReadTimeout):
        requests.post(f"{sim.url}/api/webservice", data=sim.params(), timeout=0.05)
    assert [call["answer"] for call in sim.taken()] == ["in flight"]
    eventually(lambda: sim.taken()[0]["answer"] == "client gone")


def test_hang_after_answers_late_whoever_waits(sim: Simulator) -> None:
    sim.fault(do="hang_after", seconds=0.1)
    assert sim.result() == "1"
    assert sim.taken()[0]["answer"] == "hang_after"


@pytest.mark.parametrize(("fault", "taken"), [("reset_before", 0), ("reset_after", 1)])
def test_a_reset_ends_the_connection_without_an_answer(sim: Simulator, fault, taken) -> None:
    sim.fault(do=fault)
    ended = sim.raw_send()
    assert (ended.received, ended.was_reset) == (b"", True)
    assert len(sim.taken()) == taken


def test_close_early_promises_more_than_it_sends(sim: Simulator) -> None:
    sim.fault(do="close_early")
    ended = sim.raw_send()
    full = '{"result":"1","tips":"成功"}'.encode()
    assert f"Content-Length: {len(full)}" in ended.head
    assert ended.body == full[: len(full) // 2]
    assert len(sim.taken()) == 1


@pytest.mark.parametrize("take", [True, False])
def test_garbage_can_be_read_neither_as_text_nor_as_json(sim: Simulator, take) -> None:
    sim.fault(do="garbage", take=take)
    response = sim.send()
    assert response.status_code == 200
    for encoding in ("utf-8", "gbk"):
        with pytest.raises(UnicodeDecodeError):
            response.content.decode(encoding)
    assert len(sim.taken()) == take


def test_gbk_carries_the_chinese_tips_in_gbk(sim: Simulator) -> None:
    sim.fault(do="gbk", result="-8")
    body = sim.send().content
    assert json.loads(body.decode("gbk")) == {"result": "-8", "tips": "签名不对"}
    assert sim.taken() == []


def test_empty_is_a_200_with_no_body(sim: Simulator) -> None:
    sim.fault(do="empty")
    response = sim.send()
    assert (response.status_code, response.content) == (200, b"")


def test_html_is_an_error_page_that_says_200(sim: Simulator) -> None:
    sim.fault(do="html")
    response = sim.send()
    assert response.status_code == 200
    assert response.text.startswith("<html>")


def test_wrong_content_type_spoils_nothing_else(sim: Simulator) -> None:
    sim.fault(do="wrong_content_type", content_type="image/png")
    response = sim.send()
    assert (response.headers["Content-Type"], response.json()["result"]) == ("image/png", "1")


def test_latency_delays_every_answer(sim: Simulator) -> None:
    sim.behave(latency_ms=80, jitter_ms=20)
    began = time.monotonic()
    sim.send()
    assert time.monotonic() - began >= 0.08


def test_a_script_runs_in_order_and_as_often_as_it_says(sim: Simulator) -> None:
    sim.behave(script=[{"do": "result", "result": "0", "times": 2}, {"do": "http", "status": 502}])
    assert [_kind(sim) for _ in range(4)] == ["0", "0", 502, "1"]


def test_a_step_meets_only_its_mobile_and_its_msg_id(sim: Simulator) -> None:
    sim.behave(
        script=[
            {"do": "result", "result": "-4", "mobile": "13800000001", "times": 0},
            {"do": "result", "result": "-7", "msg_id": 77, "times": 0},
        ]
    )
    assert sim.result() == "1"
    assert sim.result(mobile="13800000002,13800000001") == "-4"
    assert sim.result(msgId="77") == "-7"


def test_the_default_holds_when_the_script_is_through(sim: Simulator) -> None:
    sim.behave(script=[{"do": "ok"}], default={"do": "result", "result": "-3"})
    assert [sim.result() for _ in range(3)] == ["1", "-3", "-3"]


def test_one_seed_gives_the_same_faults_again(sim: Simulator) -> None:
    order = {"seed": 7, "fault_rate": {"empty": 0.3}, "script": [{"do": "html", "rate": 0.3, "times": 0}]}
    runs = []
    for _ in range(2):
        sim.behave(**order)
        runs.append([sim.send().text[:6] for _ in range(30)])
    assert runs[0] == runs[1]
    assert len(set(runs[0])) == 3


def test_a_slow_call_holds_up_no_other(sim: Simulator) -> None:
    sim.fault(do="hang_after", seconds=0.5, msg_id=5)
    slow = threading.Thread(target=sim.raw_send, kwargs={"msgId": "5"})
    slow.start()
    eventually(lambda: sim.get("summary")["calls_in_flight"] == 1)
    assert sim.result() == "1"
    assert slow.is_alive()
    slow.join()


def _kind(sim: Simulator) -> str | int:
    response = sim.send()
    return response.json()["result"] if response.ok else response.status_code

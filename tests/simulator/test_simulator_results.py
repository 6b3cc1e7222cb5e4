"""Every result code of the document, by every way to ask and in both formats."""

import re
import time

import pytest
import requests
from simulator_driver import Simulator

OLD = str(int(time.time() * 1000) - 601_000)

# code, tips, what brings it about (a change to a correct call, or a fault to ask for)
RESULTS = [
    ("1", "成功", {}, None),
    ("0", "失败", {"mobile": ",".join(f"138{n:08d}" for n in range(51))}, None),
    ("-1", "缺少参数", {"content": None}, None),
    ("-2", "请求已经过期", {"timestamp": OLD}, None),
    ("-3", "Key验证失败", {"key": "0" * 32}, None),
    ("-4", "Ip验证失败", {}, {"do": "result", "result": "-4"}),
    ("-5", "eprId不存在", {"eprId": "2"}, None),
    ("-6", "userId不存在", {"userId": "nobody"}, None),
    ("-7", "定时日期格式不对", {}, {"do": "result", "result": "-7"}),
    ("-8", "签名不对", {"content": "【某店】您的验证码是1234"}, None),
]


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize("xml", [False, True], ids=["json", "xml"])
@pytest.mark.parametrize(("code", "tips", "changes", "fault"), RESULTS, ids=[row[0] for row in RESULTS])
def test_answers_in_the_documents_words(sim: Simulator, code, tips, changes, fault, xml, method) -> None:
    if fault:
        sim.fault(**fault)
    response = sim.send(method, format="2" if xml else "1", **changes)
    assert response.status_code == 200
    assert "Date" in response.headers
    if xml:
        tips = "提交成功" if code == "1" else tips
        assert response.content.decode() == (
            '<?xml version="1.0" encoding="UTF-8" standalone="yes"?>'
            f"<serviceResult><result>{code}</result><tips>{tips}</tips></serviceResult>"
        )
    else:
        assert response.headers["Content-Type"] == "text/html;charset=UTF-8"
        assert response.content.decode() == f'{{"result":"{code}","tips":"{tips}"}}'
    assert len(sim.taken()) == (code == "1")


MALFORMED = [
    *[{name: None} for name in Simulator("", None).params()],
    {"cmd": "query"},
    {"eprId": "one"},
    {"userId": ""},
    {"timestamp": "1700000000"},
    {"msgId": "12x"},
    {"msgId": "2147483648"},
    {"format": "3"},
    {"mobile": ""},
    {"mobile": "13025452766,"},
    {"mobile": "13025452766，13025452767"},
    {"mobile": "+8613025452766"},
    {"content": ""},
]


@pytest.mark.parametrize("changes", MALFORMED, ids=str)
def test_a_parameter_that_is_missing_or_malformed_is_minus_1(sim: Simulator, changes) -> None:
    assert sim.result(**changes) == "-1"


def test_a_form_that_is_not_utf8_is_minus_1(sim: Simulator) -> None:
    body = "&".join(f"{name}={value}" for name, value in sim.params(content=None).items()) + "&content=%B2%E2"
    assert requests.post(f"{sim.url}/api/webservice", data=body, timeout=5).json()["result"] == "-1"


@pytest.mark.parametrize("content", ["【店】好", "好【店】", "【店】"])
def test_a_signature_at_either_end_is_minus_8(sim: Simulator, content) -> None:
    assert sim.result(content=content) == "-8"


def test_brackets_within_a_text_are_no_signature(sim: Simulator) -> None:
    assert sim.result(content="请看【通知】栏") == "1"


def test_a_key_in_upper_case_is_as_good(sim: Simulator) -> None:
    params = sim.params()
    assert sim.result(**{**params, "key": params["key"].upper()}) == "1"


def test_a_timestamp_within_the_window_on_either_side_is_fine(sim: Simulator) -> None:
    now_ms = int(time.time() * 1000)
    assert [sim.result(timestamp=str(now_ms + shift)) for shift in (-590_000, 590_000, 610_000)] == ["1", "1", "-2"]


def test_who_the_caller_is_counts_before_how_late_it_is(sim: Simulator) -> None:
    assert sim.result(eprId="2", userId="nobody", key="x", timestamp=OLD, content="【店】好") == "-5"
    assert sim.result(userId="nobody", key="x", timestamp=OLD, content="【店】好") == "-6"
    assert sim.result(key="x", timestamp=OLD, content="【店】好") == "-3"
    assert sim.result(timestamp=OLD, content="【店】好") == "-2"


def test_a_call_that_is_refused_uses_up_no_fault(sim: Simulator) -> None:
    sim.fault(do="result", result="-4")
    assert [sim.result(content=None), sim.result(), sim.result()] == ["-1", "-4", "1"]


def test_a_skewed_clock_shows_in_the_date_and_moves_the_window(sim: Simulator) -> None:
    sim.behave(date_skew_seconds=3600)
    response = sim.send()
    assert response.json()["result"] == "-2"
    hour_there, hour_here = (int(re.search(r" (\d\d):", date)[1]) for date in (response.headers["Date"], _http_now()))
    assert hour_there != hour_here
    assert sim.result(timestamp=str(int(time.time() * 1000) + 3_600_000)) == "1"


def _http_now() -> str:
    return time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime())

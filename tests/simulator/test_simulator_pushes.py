"""Pushes, as a real callback server receives them."""

import base64

import pytest
from simulator_driver import EPR_ID, USER_ID, CallbackServer, Simulator, eventually

MOBILES = [f"138{n:08d}" for n in range(1, 21)]


def test_a_report_has_the_shape_of_the_documents_sample(sim: Simulator, callback: CallbackServer) -> None:
    sim.send(msgId="123423433", mobile="13025452766,13025452767")
    push = callback.wait_for(1)[0]
    status = "<pushStatusForm><eprId>1</eprId><mobile>{}</mobile><msgId>123423433</msgId><status>1</status>"
    assert push.body.decode() == (
        "<returnForm><type>1</type><count>2</count><list>"
        f"{status.format('13025452766')}<userId>sword123</userId></pushStatusForm>"
        f"{status.format('13025452767')}<userId>sword123</userId></pushStatusForm>"
        "</list></returnForm>"
    )
    assert (push.method, push.path) == ("POST", "/push/token")
    assert push.headers["Content-Type"] == "text/xml;charset=UTF-8"


def test_a_reply_belongs_to_the_last_call_that_the_mobile_got(sim: Simulator, callback: CallbackServer) -> None:
    sim.send(msgId="1")
    sim.send(msgId="2")
    callback.wait_for_items(2)
    sim.post("reply", mobile="13025452766", content="测试1")
    push = next(push for push in _until(callback, 3) if push.text_of("type") == "2")
    assert push.body.decode() == (
        "<returnForm><type>2</type><count>1</count><list><pushSmsForm><eprId>1</eprId><mobile>13025452766</mobile>"
        "<msgId>2</msgId><content>测试1</content><userId>sword123</userId></pushSmsForm></list></returnForm>"
    )


def test_a_reply_can_name_what_was_never_sent(sim: Simulator, callback: CallbackServer) -> None:
    sim.post("reply", mobile="13900000000", content="1", msg_id=9, epr_id=8, user_id="other")
    assert callback.wait_for_items(1) == [
        {"eprId": "8", "mobile": "13900000000", "msgId": "9", "content": "1", "userId": "other"}
    ]


@pytest.mark.parametrize("text", ["<b>&amp;</b> \"'", "一行\r\n二行\t三", "😀 𠮷", " 前后 "])
def test_any_text_that_xml_can_carry_arrives_whole(sim: Simulator, callback: CallbackServer, text) -> None:
    sim.post("reply", mobile="13900000000", content=text, msg_id=1)
    assert callback.wait_for_items(1)[0]["content"] == text


def test_what_xml_cannot_carry_is_replaced(sim: Simulator, callback: CallbackServer) -> None:
    sim.post("reply", mobile="13900000000", content="a\x00b\x1bc", msg_id=1)
    assert callback.wait_for_items(1)[0]["content"] == "a�b�c"


@pytest.mark.parametrize(
    "refusal",
    [(200, b"success"), (200, b"OK"), (200, b""), (200, b"SUCCESS!"), (500, b"SUCCESS"), (202, b"SUCCESS")],
    ids=str,
)
def test_a_push_comes_again_until_it_reads_success(sim: Simulator, callback: CallbackServer, refusal) -> None:
    callback.answer = lambda _: refusal if len(callback.pushes) < 3 else (200, b" SUCCESS\n")
    sim.send()
    assert len({push.body for push in callback.wait_for(3)}) == 1
    eventually(lambda: sim.get("summary")["reports"] == {"made": 1, "acknowledged": 1, "given_up": 0})
    assert sim.get("summary")["pushes"] == {"made": 3, "acknowledged": 1, "given_up": 0}


def test_a_push_whose_tries_are_used_up_is_kept(sim: Simulator, callback: CallbackServer) -> None:
    callback.answer = lambda _: (503, b"")
    sim.send(msgId="4242")
    eventually(lambda: sim.get("summary")["pushes"]["given_up"] == 1)
    kept = sim.get("given-up")["pushes"]
    assert [push["attempts"] for push in kept] == [5]
    assert "<msgId>4242</msgId>" in kept[0]["body"]
    assert sim.get("summary")["items_waiting"] == 0


def test_a_callback_that_is_down_gets_its_pushes_when_it_is_back(sim: Simulator, callback: CallbackServer) -> None:
    sim.behave(push_url="http://127.0.0.1:1/push")
    sim.send()
    eventually(lambda: sim.get("summary")["pushes"]["made"] >= 1)
    sim.behave(push_url=callback.url)
    assert len(callback.wait_for_items(1)) == 1


def test_paused_pushes_wait_and_then_travel_together(sim: Simulator, callback: CallbackServer) -> None:
    _queue_calls(sim)
    assert callback.pushes == []
    sim.post("resume-pushes")
    assert len(callback.wait_for_items(len(MOBILES))) == len(MOBILES)
    assert len(callback.pushes) < len(MOBILES)


def test_split_pushes_hold_one_item_each(sim: Simulator, callback: CallbackServer) -> None:
    _queue_calls(sim, split=True)
    sim.post("resume-pushes")
    assert {len(push.items) for push in callback.wait_for(len(MOBILES))} == {1}


def test_a_merged_push_holds_more_than_a_batch(sim: Simulator, callback: CallbackServer) -> None:
    sim.post("pause-pushes")
    sim.behave(pushes={"merge": True})
    for _ in range(3):
        sim.send(mobile=",".join(f"139{n:08d}" for n in range(40)))
    sim.post("resume-pushes")
    callback.wait_for_items(120)
    assert max(len(push.items) for push in callback.pushes) > 50


def test_reordered_pushes_come_in_another_order_with_nothing_lost(sim: Simulator, callback: CallbackServer) -> None:
    _queue_calls(sim, reordered=True)
    sim.post("resume-pushes")
    mobiles = [item["mobile"] for item in callback.wait_for_items(len(MOBILES))]
    assert mobiles != MOBILES
    assert sorted(mobiles) == MOBILES


def test_doubled_pushes_come_twice_and_count_their_items_once(sim: Simulator, callback: CallbackServer) -> None:
    sim.behave(pushes={"doubled": True})
    sim.send()
    first, second = callback.wait_for(2)
    assert first.body == second.body
    eventually(lambda: sim.get("summary")["reports"]["acknowledged"] == 1)


def test_a_push_is_repeated_although_success_was_read(sim: Simulator, callback: CallbackServer) -> None:
    sim.behave(pushes={"ignore_success": 2})
    sim.send()
    assert len({push.body for push in callback.wait_for(3)}) == 1
    eventually(lambda: sim.get("summary")["pushes"]["acknowledged"] == 3)
    assert sim.get("summary")["reports"]["acknowledged"] == 1


def test_the_report_can_come_before_the_answer(sim: Simulator, callback: CallbackServer) -> None:
    sim.behave(pushes={"before_answer": True})
    for number in range(5):
        sim.send()
        assert len(callback.pushes) == number + 1


def test_a_report_before_the_answer_is_not_waited_for_beyond_a_second(sim: Simulator, callback: CallbackServer) -> None:
    sim.behave(pushes={"before_answer": True})
    sim.post("pause-pushes")
    assert 1 <= sim.send().elapsed.total_seconds() < 2


def test_listed_mobiles_are_undelivered_or_get_no_report(sim: Simulator, callback: CallbackServer) -> None:
    sim.behave(pushes={"undelivered": [MOBILES[0]], "no_report": [MOBILES[1]]})
    sim.send(mobile=",".join(MOBILES[:3]))
    statuses = {item["mobile"]: item["status"] for item in callback.wait_for_items(2)}
    assert statuses == {MOBILES[0]: "-1", MOBILES[2]: "1"}


def test_a_share_of_the_mobiles_is_undelivered(sim: Simulator, callback: CallbackServer) -> None:
    sim.behave(pushes={"undelivered": 0.5})
    sim.send(mobile=",".join(MOBILES))
    assert {item["status"] for item in callback.wait_for_items(len(MOBILES))} == {"1", "-1"}


def test_a_count_can_lie(sim: Simulator, callback: CallbackServer) -> None:
    sim.behave(pushes={"lie_count": True})
    sim.send()
    push = callback.wait_for(1)[0]
    assert (push.text_of("count"), len(push.items)) == ("2", 1)


def test_success_to_a_push_cut_short_is_told_and_does_not_end_it(sim: Simulator, callback: CallbackServer) -> None:
    sim.behave(pushes={"cut_short": 1})
    sim.send()
    cut = callback.wait_for(1)[0]
    eventually(lambda: sim.get("summary")["cut_short_answered_success"] >= 1)
    assert len(cut.body) < int(cut.headers["Content-Length"])
    sim.behave(pushes={})
    eventually(lambda: sim.get("summary")["reports"]["acknowledged"] == 1)


def test_a_scripted_reply_follows_the_report(sim: Simulator, callback: CallbackServer) -> None:
    sim.behave(replies=[{"content_contains": "回复", "reply": "TD"}])
    sim.send(content="回复TD退订", mobile=",".join(MOBILES[:2]))
    sim.send(content="别的")
    items = callback.wait_for_items(5)
    answers = [item["mobile"] for item in items if item.get("content") == "TD"]
    assert answers == MOBILES[:2]
    assert [item["mobile"] for item in items].index(MOBILES[0]) < [item.get("content") for item in items].index("TD")


def test_a_scripted_reply_can_be_that_of_the_first_mobile_alone(sim: Simulator, callback: CallbackServer) -> None:
    sim.behave(
        replies=[{"content_contains": "回复", "reply": "TD", "mobiles": "first"}], pushes={"no_report": MOBILES[:2]}
    )
    sim.send(content="回复TD退订", mobile=",".join(MOBILES[:2]))
    assert [item["mobile"] for item in callback.wait_for_items(1)] == MOBILES[:1]
    assert sim.get("summary")["replies"]["made"] == 1


@pytest.mark.parametrize("order", [{"body": "no <xml"}, {"body_base64": base64.b64encode(b"\xff\x00").decode()}])
def test_any_raw_body_can_be_pushed_and_its_answer_read(sim: Simulator, callback: CallbackServer, order) -> None:
    callback.answer = lambda _: (413, "太大".encode())
    assert sim.post("push", **order) == {"status": 413, "body": "太大", "success": False}
    assert callback.pushes[0].body in {b"no <xml", b"\xff\x00"}


def test_a_raw_push_by_get_carries_the_xml_as_its_query(sim: Simulator, callback: CallbackServer) -> None:
    assert sim.post("push", body="<a>b</a>", method="GET")["success"]
    assert (callback.pushes[0].method, callback.pushes[0].path) == ("GET", "/push/token?%3Ca%3Eb%3C/a%3E")


def test_a_raw_push_can_ask_before_it_sends_its_body(sim: Simulator, callback: CallbackServer) -> None:
    assert sim.post("push", body="<a/>", expect_100=True)["success"]
    assert callback.pushes[0].headers["Expect"] == "100-continue"


def test_without_a_push_url_nothing_is_pushed(sim: Simulator) -> None:
    sim.send()
    assert sim.get("summary")["reports"]["made"] == 0


def test_a_fault_after_the_call_was_taken_spoils_no_report(sim: Simulator, callback: CallbackServer) -> None:
    sim.fault(do="reset_after")
    sim.raw_send(msgId="31")
    report = {"eprId": EPR_ID, "mobile": "13025452766", "msgId": "31", "status": "1", "userId": USER_ID}
    assert callback.wait_for_items(1) == [report]


def _queue_calls(sim: Simulator, **faults: object) -> None:
    """One call for each mobile, whose reports all wait to be pushed."""
    sim.post("pause-pushes")
    sim.behave(pushes=faults)
    for mobile in MOBILES:
        sim.send(mobile=mobile)


def _until(callback: CallbackServer, items: int) -> list:
    callback.wait_for_items(items)
    return list(callback.pushes)

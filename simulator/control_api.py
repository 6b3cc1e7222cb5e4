"""`/sim/`: how a test makes the stand-in misbehave and reads its log. The vendor's gateway has no such interface."""

import base64
import json
from dataclasses import asdict
from typing import Literal, Self

from aiohttp import web
from aiohttp.typedefs import Handler
from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

from simulator.behaviour import Behaviour
from simulator.call_log import CallLog, TakenCall
from simulator.push_http import CONTENT_TYPE, post_push
from simulator.push_xml import Reply
from simulator.state import GATEWAY, Gateway


class ReplyOrder(BaseModel):
    model_config = ConfigDict(extra="forbid")
    mobile: str
    content: str
    msg_id: str | int | None = None
    epr_id: str | int | None = None
    user_id: str | None = None


class RawPush(BaseModel):
    model_config = ConfigDict(extra="forbid")
    body: str | None = None
    body_base64: str | None = None
    method: Literal["POST", "GET"] = "POST"
    content_type: str = CONTENT_TYPE
    expect_100: bool = False

    @model_validator(mode="after")
    def _has_one_body(self) -> Self:
        if (self.body is None) == (self.body_base64 is None):
            raise ValueError("give body or body_base64")
        return self

    def raw(self) -> bytes:
        return base64.b64decode(self.body_base64) if self.body_base64 is not None else (self.body or "").encode()


async def healthz(_: web.Request) -> web.Response:
    return _json({"ok": True})


async def calls(request: web.Request) -> web.Response:
    gateway = request.app[GATEWAY]
    since, limit = int(request.query.get("since", "0")), int(request.query.get("limit", "1000"))
    rows = [_shown(call, gateway.signature) for call in gateway.log.since(since, limit)]
    return _json({"calls": rows, "last_seq": len(gateway.log)})


async def refused(request: web.Request) -> web.Response:
    log = request.app[GATEWAY].log
    return _json({"calls": [asdict(call) for call in log.refused], "total": log.calls_refused})


async def summary(request: web.Request) -> web.Response:
    gateway, log = request.app[GATEWAY], request.app[GATEWAY].log
    counts = gateway.pusher.counts
    return _json(
        {
            "calls_taken": len(log),
            "calls_refused": log.calls_refused,
            "calls_by_answer": log.answers,
            "calls_in_flight": gateway.in_flight,
            "mobiles_taken": log.mobiles_taken,
            "mobiles_repeated_total": len(log.repeated),
            "mobiles_repeated": log.repeated_first(int(request.query.get("limit", "100"))),
            "max_mobiles_per_call": log.max_mobiles_per_call,
            "items_waiting": counts.items_waiting(),
            "pushes_paused": gateway.pusher.paused,
            **asdict(counts),
        }
    )


async def behave(request: web.Request) -> web.Response:
    gateway = request.app[GATEWAY]
    gateway.fault_script.apply(Behaviour.model_validate_json(await request.read()))
    gateway.pusher.wake()
    return _json(gateway.fault_script.behaviour.model_dump(mode="json"))


async def reply(request: web.Request) -> web.Response:
    order = ReplyOrder.model_validate_json(await request.read())
    gateway = request.app[GATEWAY]
    if gateway.fault_script.behaviour.push_url is None:
        raise ValueError("there is no push_url")
    expanded = _reply_of(order, gateway)
    gateway.pusher.push_reply(expanded)
    return _json(asdict(expanded))


async def push(request: web.Request) -> web.Response:
    """Pushes one raw body once, past the queue and the pause, and returns the answer to it."""
    order = RawPush.model_validate_json(await request.read())
    gateway = request.app[GATEWAY]
    url = gateway.fault_script.behaviour.push_url
    if url is None:
        raise ValueError("there is no push_url")
    answer = await post_push(
        gateway.pusher.session,
        url,
        order.raw(),
        method=order.method,
        content_type=order.content_type,
        expect_100=order.expect_100,
    )
    return _json({**asdict(answer), "success": gateway.pusher.count(answer)})


async def given_up(request: web.Request) -> web.Response:
    pushes = request.app[GATEWAY].pusher.given_up
    return _json({"pushes": [{"body": push.body.decode(), "attempts": push.attempts} for push in pushes]})


async def pause_pushes(request: web.Request) -> web.Response:
    request.app[GATEWAY].pusher.set_paused(True)
    return _json({"paused": True})


async def resume_pushes(request: web.Request) -> web.Response:
    request.app[GATEWAY].pusher.set_paused(False)
    return _json({"paused": False})


async def reset(request: web.Request) -> web.Response:
    """Restores the start: an empty log, no faults, nothing to push."""
    gateway = request.app[GATEWAY]
    gateway.fault_script.reset()
    gateway.log = CallLog()
    await gateway.pusher.reset()
    return _json({"ok": True})


def build_control_app(gateway: Gateway) -> web.Application:
    app = web.Application(middlewares=[_refuse_bad_orders])
    app[GATEWAY] = gateway
    app.add_routes(
        [
            web.get("/healthz", healthz),
            web.get("/calls", calls),
            web.get("/refused", refused),
            web.get("/summary", summary),
            web.get("/given-up", given_up),
            web.post("/behave", behave),
            web.post("/reply", reply),
            web.post("/push", push),
            web.post("/pause-pushes", pause_pushes),
            web.post("/resume-pushes", resume_pushes),
            web.post("/reset", reset),
        ]
    )
    return app


@web.middleware
async def _refuse_bad_orders(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Answers an order that cannot be read with 400 and the reason."""
    try:
        return await handler(request)
    except ValidationError as error:
        return _json({"error": error.errors(include_url=False, include_context=False, include_input=False)}, status=400)
    except ValueError as error:
        return _json({"error": str(error)}, status=400)


def _reply_of(order: ReplyOrder, gateway: Gateway) -> Reply:
    """The reply that was ordered.

    Its missing fields are those of the last call to this mobile, else of the first account.
    """
    last = gateway.log.last_of(order.mobile)
    if order.msg_id is None and last is None:
        raise ValueError(f"{order.mobile} got no call yet: give a msg_id")
    account = last.account if last else gateway.rules.accounts[0]
    msg_id = last.msg_id if order.msg_id is None and last else order.msg_id
    epr_id = account.epr_id if order.epr_id is None else str(order.epr_id)
    return Reply(epr_id, order.user_id or account.user_id, order.mobile, str(msg_id), order.content)


def _shown(call: TakenCall, signature: str) -> dict[str, object]:
    return {
        "seq": call.seq,
        "epr_id": call.account.epr_id,
        "user_id": call.account.user_id,
        "msg_id": call.msg_id,
        "mobiles": call.mobiles,
        "content": call.content,
        "handset_text": signature + call.content,
        "arrived_at": call.arrived_at,
        "monotonic": call.monotonic,
        "answer": call.answer,
    }


def _json(value: object, status: int = 200) -> web.Response:
    return web.json_response(value, status=status, dumps=lambda shown: json.dumps(shown, ensure_ascii=False))

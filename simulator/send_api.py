"""`/api/webservice`: checks a call, takes it or not, and answers it well or badly (document, 1. 发送短信)."""

import asyncio
import time

from aiohttp import web

from simulator.answers import answer_to
from simulator.behaviour import Fault
from simulator.rules import Call, check, parse_params
from simulator.state import GATEWAY, Gateway
from simulator.wire import respond

CLIENT_GONE = "client gone"


async def send(request: web.Request) -> web.Response:
    gateway = request.app[GATEWAY]
    form = await request.read() if request.method == "POST" else _raw_query(request)
    gateway.in_flight += 1
    try:
        return await _answer(request, gateway, parse_params(form))
    finally:
        gateway.in_flight -= 1


async def _answer(request: web.Request, gateway: Gateway, params: dict[str, str]) -> web.Response:
    """Answers a call. A call that breaks a rule uses up no fault: scripts are for calls that would have been taken."""
    arrived_at, monotonic, log = time.time(), time.monotonic(), gateway.log
    call = check(params, gateway.rules, int(_clock(gateway, arrived_at) * 1000))
    fault = gateway.fault_script.next_fault(call) if isinstance(call, Call) else Fault(do="result", result=call)
    latency_seconds = gateway.fault_script.latency_seconds()
    seq = None
    if isinstance(call, Call) and fault.takes:
        # From here on the handset has the text, whatever happens to the answer.
        seq = log.take(call, arrived_at, monotonic)
        await gateway.pusher.call_taken(call)
    else:
        log.refuse(params, arrived_at, fault.label)
    if latency_seconds:
        await asyncio.sleep(latency_seconds)
    answer = answer_to(fault, xml=params.get("format") == "2")
    response = await respond(request, fault, answer, _clock(gateway, time.time()))
    if seq is not None:
        gone = request.transport is None and fault.do not in {"reset_after", "close_early"}
        log.note_answer(seq, CLIENT_GONE if gone else fault.label)
    return response


def _clock(gateway: Gateway, now: float) -> float:
    return now + gateway.fault_script.behaviour.date_skew_seconds


def _raw_query(request: web.Request) -> bytes:
    return request.raw_path.partition("?")[2].encode("utf-8", "surrogateescape")

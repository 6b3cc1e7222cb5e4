"""Builds the web application from its parts."""

from collections.abc import AsyncIterator

from aiohttp import web

from simulator.behaviour import Behaviour
from simulator.control_api import build_control_app
from simulator.fault_script import FaultScript
from simulator.pusher import Pusher, PushSettings
from simulator.rules import Rules
from simulator.send_api import send
from simulator.state import GATEWAY, Gateway

SEND_PATH = "/api/webservice"
# Room for a call without a limit on mobiles, and for a raw push that is too large for a callback app.
MAX_BODY_BYTES = 64 * 1024 * 1024


def build_app(rules: Rules, initial: Behaviour, push_settings: PushSettings, signature: str) -> web.Application:
    fault_script = FaultScript(initial)
    gateway = Gateway(rules, fault_script, Pusher(push_settings, fault_script), signature)
    app = web.Application(client_max_size=MAX_BODY_BYTES)
    app[GATEWAY] = gateway
    app.router.add_get(SEND_PATH, send, allow_head=False)
    app.router.add_post(SEND_PATH, send)
    app.add_subapp("/sim/", build_control_app(gateway))
    app.cleanup_ctx.append(_run_couriers)
    return app


async def _run_couriers(app: web.Application) -> AsyncIterator[None]:
    pusher = app[GATEWAY].pusher
    pusher.start()
    yield
    await pusher.stop()

"""The gateway's state: what the send API and the control API share."""

from dataclasses import dataclass, field

from aiohttp import web

from simulator.call_log import CallLog
from simulator.fault_script import FaultScript
from simulator.pusher import Pusher
from simulator.rules import Rules


@dataclass(slots=True)
class Gateway:
    rules: Rules
    fault_script: FaultScript
    pusher: Pusher
    signature: str
    log: CallLog = field(default_factory=CallLog)
    in_flight: int = 0


GATEWAY = web.AppKey("gateway", Gateway)

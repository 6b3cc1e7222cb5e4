"""Puts an answer on the wire, or spoils the connection instead."""

import asyncio
import socket
import struct
from email.utils import formatdate
from http import HTTPStatus

from aiohttp import web

from simulator.answers import Answer
from simulator.behaviour import Fault


async def respond(request: web.Request, fault: Fault, answer: Answer, now: float) -> web.Response:
    """The response, once the fault has been done to the connection. `now` is the gateway's clock in Unix seconds."""
    if fault.do in {"hang_before", "hang_after"}:
        await asyncio.sleep(fault.seconds)
    headers = {"Content-Type": answer.content_type, "Date": formatdate(now, usegmt=True), **answer.headers}
    transport = request.transport
    if transport is not None:
        match fault.do:
            case "reset_before" | "reset_after":
                _reset(transport)
            case "hang_before":
                transport.close()
            case "close_early":
                transport.write(_cut_short(answer, headers))
                transport.close()
    # aiohttp drops the response if the transport is closed by now.
    return web.Response(status=answer.status, body=answer.body, headers=headers)


def _reset(transport: asyncio.Transport) -> None:
    """Ends the connection by RST instead of FIN: a linger of zero seconds discards unsent bytes."""
    transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    transport.abort()


def _cut_short(answer: Answer, headers: dict[str, str]) -> bytes:
    """A head that promises the whole body, and half of the body."""
    fields = {**headers, "Content-Length": str(len(answer.body))}
    head = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    status_line = f"HTTP/1.1 {answer.status} {HTTPStatus(answer.status).phrase}\r\n"
    return f"{status_line}{head}\r\n".encode() + answer.body[: len(answer.body) // 2]

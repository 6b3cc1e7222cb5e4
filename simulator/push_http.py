"""One push on the wire: the request, and the answer to it."""

import asyncio
from dataclasses import dataclass
from typing import Literal
from urllib.parse import quote

import aiohttp
from yarl import URL

TIMEOUT_SECONDS = 10
CONTENT_TYPE = "text/xml;charset=UTF-8"


@dataclass(frozen=True, slots=True)
class PushAnswer:
    """The answer to a push. A status of 0 means that no answer could be read; `body` then says why."""

    status: int
    body: str

    @property
    def success(self) -> bool:
        """用户接收后需立即返回" SUCCESS"，否则会重复推送: the document's own quotes hold a space, so blanks around it are fine."""
        return self.status == 200 and self.body.strip() == "SUCCESS"


async def post_push(
    session: aiohttp.ClientSession,
    url: str,
    body: bytes,
    *,
    method: Literal["POST", "GET"] = "POST",
    content_type: str = CONTENT_TYPE,
    expect_100: bool = False,
) -> PushAnswer:
    """Pushes once. By GET the whole query string is the XML, which the vendor's own receiver accepts."""
    target = URL(f"{url}?{quote(body)}" if method == "GET" else url, encoded=True)
    data, headers = (body, {"Content-Type": content_type}) if method == "POST" else (None, {})
    try:
        async with session.request(method, target, data=data, headers=headers, expect100=expect_100) as response:
            return PushAnswer(response.status, (await response.read()).decode("utf-8", "replace"))
    except (aiohttp.ClientError, TimeoutError, OSError) as error:
        return PushAnswer(0, repr(error))


async def post_cut_short(url: str, body: bytes) -> PushAnswer:
    """Promises the whole body, sends half of it, and closes our side.

    A receiver that answers SUCCESS has lost a push.
    """
    target = URL(url)
    head = (
        f"POST {target.raw_path_qs} HTTP/1.1\r\nHost: {target.authority}\r\nContent-Type: {CONTENT_TYPE}\r\n"
        f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    )
    try:
        async with asyncio.timeout(TIMEOUT_SECONDS):
            reader, writer = await asyncio.open_connection(target.host, target.port)
            try:
                writer.write(head.encode() + body[: len(body) // 2])
                writer.write_eof()
                answer = (await reader.read()).decode("utf-8", "replace")
            finally:
                writer.close()
    except (TimeoutError, OSError) as error:
        return PushAnswer(0, repr(error))
    status_line, _, rest = answer.partition("\r\n")
    status = status_line.split(" ")[1:2]
    return PushAnswer(int(status[0]) if status else 0, rest.partition("\r\n\r\n")[2])

"""Fuzzing of pushes: `python3 run.py fuzz`. Bytes that are nearly a push, for the parser and then over HTTP for the whole system.

An input is made from the seed and its number alone, so a finding can be had again: `input_of(seed, number)`.
"""

import argparse
import re
import socket
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from urllib.parse import quote, urlsplit

import psutil
from rich.console import Console
from rich.progress import track
from rich.table import Table
from sqlalchemy import Engine, func, select

from worker.devstack.stack import Stack, running_stack
from worker.gateway.push import Unreadable, parse_push
from worker.ledger import tables as t
from worker.ledger.engine import open_engine, reading

MEMORY_MB = 32
"""A process that has read a tenth of the inputs may grow by this much while it reads the rest."""

PARSE_SECONDS = 1
HTTP_SECONDS = 30
PROCESSED_SECONDS = 600

OWN_ANSWERS = (501, 505)
"""The 5xx statuses with which a server refuses a method or a version of HTTP that it does not know."""

SAMPLES = [(Path(__file__).parent / "samples" / name).read_bytes() for name in ("push-status.xml", "push-reply.xml")]
FIELD = re.compile(rb"<(\w+)>([^<]*)</\1>")
TAGS = [b"mobile", b"msgId", b"status", b"eprId", b"userId", b"content", b"type", b"count", b"list", b"a"]
TEXTS = [
    b"", b" ", b"1", b"-1", b"2", b"0", b"9" * 18, b"9" * 19, b"1e9", b"x" * 65, b"x" * 10_001, "٣½".encode(), b"&lt;", b"&#x1F600;",
    b"+86 130 2545 2766", "测试 �".encode(), b"<b>1</b>", b"<!-- -->1", b"<![CDATA[1]]>", b"&#x9;1&#xA;",
    b"&#xD83D;&#xDE00;", b"a & b", b"1<2", b"</pushSmsForm>", b"&nbsp;",
]  # fmt: skip
ENTITIES = b'<!DOCTYPE r [<!ENTITY a "1234567890"><!ENTITY b "&a;&a;&a;"><!ENTITY c SYSTEM "file:///etc/passwd">]>'
DECLARATIONS = [f'<?xml version="1.0" encoding="{name}"?>'.encode() for name in ("GBK", "UTF-16", "latin-1", "x", "")]
TOKENS = [
    ENTITIES, *DECLARATIONS, b"&a;", b"&b;", b"&c;", b"&#0;", b"&#xD800;", b"&#x10FFFF;", b"&amp;", b"<![CDATA[", b"]]>",
    b"<!--", b"-->", b"<?p", b"?>", b"\x00", b"\xff\xfe", b"\xef\xbb\xbf", b"\xed\xa0\x80", b"\x84\x31\xa4\x37", b"<list>",
    b"</list>", b"<returnForm>", b"</returnForm>", b"<pushSmsForm/>", b"<x:y xmlns:x='z'>", b" a='b'", b"-1", b"9" * 40,
    "测试٣½\u2028".encode(), b"<type>2</type>", b"<", b">", b'"', b"%", b"\r\n",
]  # fmt: skip


def input_of(seed: int, number: int) -> bytes:
    """A sample push, changed in a few places: half of them so that it stays XML and gets further into the parser."""
    random = Random(seed << 40 | number)
    body = random.choice(SAMPLES)
    for _ in range(random.randrange(4)):
        body = _changed_field(body, random)
    for _ in range(random.choice((0, 0, 1, 2, 4))):
        body = _changed(body, random)
    return body


def _changed_field(body: bytes, random: Random) -> bytes:
    """Removes an element without children, repeats it, renames it, or changes its text."""
    element = random.choice([*FIELD.finditer(body)] or [None])
    if element is None:
        return body
    tag, text = random.choice(((element[1], random.choice(TEXTS)), (random.choice(TAGS), element[2])))
    changed = b"<%b>%b</%b>" % (tag, text, tag)
    return body[: element.start()] + random.choice((changed, changed, b"", element[0] * 2)) + body[element.end() :]


def _changed(body: bytes, random: Random) -> bytes:  # noqa: PLR0911 - a way to change it is a line
    start = random.randrange(len(body) + 1)
    end = start + random.randrange(min(len(body) - start, 200) + 1)
    before, piece, after = body[:start], body[start:end], body[end:]
    match random.randrange(11):
        case 0:  # a bit
            return (
                before
                + bytes([(body[start] if start < len(body) else 0) ^ 1 << random.randrange(8)])
                + body[start + 1 :]
            )
        case 1:
            return before + after
        case 2:
            return before
        case 3:  # again, once or so often that it nests or is long
            return before + piece * random.choice((2, 3, 50)) + after
        case 4:  # a splice with the other sample
            other = random.choice(SAMPLES)
            return before + other[random.randrange(len(other)) :]
        case 5:
            return before + random.randbytes(random.randrange(20)) + after
        case 6:
            return random.choice(DECLARATIONS) + body
        case 7:
            return ENTITIES + body
        case 8:
            depth = random.choice((2, 100, 300))
            return before + b"<a>" * depth + piece + b"</a>" * depth + after
        case 9:
            encoding = random.choice(("utf-16", "utf-16-be", "utf-32", "gb18030", "utf-7", "cp037"))
            return body.decode("utf-8", "replace").encode(encoding, "replace")
        case _:
            return before + random.choice(TOKENS) + piece + after


@dataclass
class Result:
    """What became of the inputs: how many ended how, which took longest, how much memory grew, and what was found."""

    ends: Counter[str] = field(default_factory=Counter)
    longest_seconds: float = 0
    grown_mb: dict[str, float] = field(default_factory=dict)
    findings: list[tuple[str, bytes]] = field(default_factory=list)

    def took(self, seconds: float) -> None:
        self.longest_seconds = max(self.longest_seconds, seconds)

    def check_memory(self, before: dict[str, float], after: dict[str, float]) -> None:
        self.grown_mb = {name: mb - before.get(name, 0) for name, mb in after.items()}
        self.findings += [(f"{name} grew by {mb:.0f} MB", b"") for name, mb in self.grown_mb.items() if mb > MEMORY_MB]


def fuzz_parser(numbers: Iterable[int], seed: int, *, warm_after: int) -> Result:
    """Gives the parser the inputs of these numbers."""
    result, before = Result(), {"the parser": _mb(psutil.Process())}
    for count, number in enumerate(numbers):
        if count == warm_after:
            before = {"the parser": _mb(psutil.Process())}
        body = input_of(seed, number)
        began = time.thread_time()
        try:
            push = parse_push(body)
        except Unreadable:
            result.ends["unrerrorable"] += 1
        except Exception as why:  # noqa: BLE001 - that is what is looked for
            result.findings.append((f"the parser raised {why!r}", body))
        else:
            result.ends["read, with faults" if push.faults else "read"] += 1
        seconds = time.thread_time() - began
        result.took(seconds)
        if seconds > PARSE_SECONDS:
            result.findings.append((f"the parser took {seconds:.1f} s", body))
    result.check_memory(before, {"the parser": _mb(psutil.Process())})
    return result


def fuzz_http(numbers: Iterable[int], seed: int, stack: Stack, *, warm_after: int) -> Result:
    """Sends the inputs of these numbers to the callback app of a stack, and waits until its worker has read what was kept."""
    result, before = Result(), _mb_of(stack)
    engine = open_engine(stack.ledger_url)
    known = _count(engine)
    with ThreadPoolExecutor(4) as threads:
        for count, (request, status, seconds) in enumerate(threads.map(lambda n: _sent(stack, seed, n), numbers)):
            if count == warm_after:
                before = _mb_of(stack)
            result.ends[str(status) if status else "closed"] += 1
            result.took(seconds)
            if status >= 500 and status not in OWN_ANSWERS:
                result.findings.append((f"HTTP {status}", request))
            if seconds > HTTP_SECONDS:
                result.findings.append((f"no answer in {seconds:.0f} s", request))
    kept = _count(engine) - known
    if kept != result.ends["200"]:
        result.findings.append((f"{result.ends['200']} were acknowledged and {kept} are in the ledger", b""))
    stack.wait_for("pushes read", lambda: not _count(engine, state="received"), seconds=PROCESSED_SECONDS)
    result.check_memory(before, _mb_of(stack))
    engine.dispose()
    return result


def _sent(stack: Stack, seed: int, number: int) -> tuple[bytes, int, float]:
    request, began = _request(stack, seed, number), time.monotonic()
    address = urlsplit(stack.callback_url)
    answer = b""
    with socket.create_connection((address.hostname, address.port), HTTP_SECONDS) as connection:
        # The app may refuse and hang up before it has read everything.
        with suppress(ConnectionError):
            connection.sendall(request)
            connection.shutdown(socket.SHUT_WR)
        with suppress(ConnectionError, TimeoutError):
            while part := connection.recv(65536):
                answer += part
    status = int(answer[9:12]) if answer.startswith(b"HTTP/1.1 ") else 0
    return request, status, time.monotonic() - began


def _request(stack: Stack, seed: int, number: int) -> bytes:
    body, random = input_of(seed, number), Random(seed << 40 | number)
    path = f"/push/{stack.environment['SMS_PUSH_TOKEN']}"
    end = " HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
    kind = random.randrange(20)
    if kind < 3:
        query = body.decode("latin-1") if kind == 0 else quote(body)
        return f"GET {path}?{query}{end}\r\n".encode("latin-1")
    if kind < 7:
        parts = [body[start : start + 300] for start in range(0, len(body), 300)]
        coded = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in parts) + b"0\r\n\r\n"
        request = f"POST {path}{end}Transfer-Encoding: chunked\r\n\r\n".encode() + coded
        return request if kind < 5 else _changed(request, random)
    request = f"POST {path}{end}Content-Length: {len(body)}\r\n\r\n".encode() + body
    return _changed(request, random) if kind == 19 else request


def _count(engine: Engine, **where: str) -> int:
    with reading(engine) as connection:
        return int(connection.execute(select(func.count()).select_from(t.pushes).filter_by(**where)).scalar_one())


def _mb_of(stack: Stack) -> dict[str, float]:
    """Memory of the processes that read a push, by name; that of gunicorn with its workers."""
    memory = {}
    for name in ("callback", "worker"):
        parent = psutil.Process(stack.processes[name].pid)
        memory[name] = sum(map(_mb, [parent, *parent.children(recursive=True)]))
    return memory


def _mb(process: psutil.Process) -> float:
    return float(process.memory_info().rss) / 2**20


def main() -> int:
    parser = argparse.ArgumentParser(prog="fuzz", description=__doc__)
    parser.add_argument("--inputs", type=int, default=1_000_000, help="for the parser (default: %(default)s)")
    parser.add_argument("--http", type=int, default=20_000, help="over HTTP (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="another one makes other inputs")
    given = parser.parse_args()
    console, results = Console(), {}
    numbers = _shown(console, "parser", given.inputs)
    results["parser"] = fuzz_parser(numbers, given.seed, warm_after=given.inputs // 10)
    if given.http:
        with tempfile.TemporaryDirectory(prefix="sms-fuzz-") as directory, running_stack(Path(directory)) as stack:
            numbers = _shown(console, "HTTP", given.http)
            results["HTTP"] = fuzz_http(numbers, given.seed, stack, warm_after=given.http // 10)
    console.print(_table(results))
    findings = [finding for result in results.values() for finding in result.findings]
    for number, (what, body) in enumerate(findings[:20]):
        console.print(f"{what}: {_written(f'sms-fuzz-{given.seed}-{number}', body) if body else ''}", markup=False)
    return 1 if findings else 0


def _shown(console: Console, what: str, count: int) -> Iterator[int]:
    yield from track(range(count), what, console=console, update_period=1)


def _written(name: str, body: bytes) -> Path:
    path = Path(tempfile.gettempdir(), name)
    path.write_bytes(body)
    return path


def _table(results: dict[str, Result]) -> Table:
    table = Table("inputs", "ended", "longest", "memory grew by", "findings")
    for name, result in results.items():
        table.add_row(
            f"{result.ends.total():,} {name}",
            "\n".join(f"{end}: {count:,}" for end, count in result.ends.most_common()),
            f"{1000 * result.longest_seconds:,.0f} ms",
            "\n".join(f"{process}: {mb:+.1f} MB" for process, mb in result.grown_mb.items()),
            str(len(result.findings)),
        )
    return table


if __name__ == "__main__":
    sys.exit(main())

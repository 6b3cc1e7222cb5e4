"""Attacks on the callback app: pushes that are made to be costly, and requests that never end. Others are answered
meanwhile.
"""

import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from itertools import islice
from urllib.parse import urlsplit

import psutil
import pytest
from sqlalchemy import Engine
from test_callback import GOOD, STATUS, SUCCESS, Kept, ask, chunked, head, path, post, push_of, received, status_item

from callback_app.body import MAX_BODY_BYTES
from callback_app.server import ARRIVAL_SECONDS, GRACE_SECONDS
from tests.fuzz_push import fuzz_http, fuzz_parser
from worker.devstack.stack import Stack
from worker.gateway.push import MAX_ITEMS, Unreadable, parse_push

pytestmark = pytest.mark.long("measures how long the dearest bodies take, and sends thousands")

LAUGHS = "".join(f'<!ENTITY l{n} "{f"&l{n - 1};" * 10}">' for n in range(1, 12))
MEGABYTES = "x" * (MAX_BODY_BYTES - 1000)


def with_dtd(declarations: str, use: str) -> bytes:
    return f'<!DOCTYPE r [<!ENTITY l0 "ha">{declarations}]>{push_of(GOOD.replace("777", use))}'.encode()


def of_size(piece: str) -> str:
    return piece * (len(MEGABYTES) // len(piece))


# How to make each push, and how the reason begins. A push without a reason is read, for all its weight.
HOSTILE: dict[str, tuple[Callable[[], bytes], str]] = {
    "billion laughs": (lambda: with_dtd(LAUGHS, "&l11;"), "it has a DTD"),
    "billion laughs in an attribute": (
        lambda: with_dtd(LAUGHS, "7").replace(b"<mobile>", b"<mobile a='&l11;'>"),
        "it has a DTD",
    ),
    "one entity of a megabyte, a thousand times": (
        lambda: with_dtd(f'<!ENTITY big "{"x" * 10**6}">', "&big;" * 1000),
        "it has a DTD",
    ),
    "entities of a parameter": (
        lambda: with_dtd("<!ENTITY % p SYSTEM 'http://127.0.0.1:1/x.dtd'> %p;", "7"),
        "it has a DTD",
    ),
    "an entity of a file": (lambda: with_dtd('<!ENTITY f SYSTEM "file:///etc/passwd">', "&f;"), "it has a DTD"),
    "an entity of an endless file": (lambda: with_dtd('<!ENTITY f SYSTEM "file:///dev/zero">', "&f;"), "it has a DTD"),
    "10,000 elements deep": (lambda: b"<a>" * 10_000 + b"</a>" * 10_000, "it is not XML: Excessive depth"),
    "as deep as 4 MB are": (lambda: of_size("<a>").encode(), "it is not XML: Excessive depth"),
    "10,000 deep in a field": (
        lambda: push_of(GOOD.replace("777", "<a>" * 10_000 + "</a>" * 10_000)).encode(),
        "it is not XML: Excessive depth",
    ),
    "NULs": (lambda: push_of(GOOD).replace("777", "7\0007").encode(), "item 1: msgId"),
    "nothing but NULs": (lambda: bytes(MAX_BODY_BYTES), "it is not XML"),
    "an encoding that it is not in": (
        lambda: b'<?xml version="1.0" encoding="UTF-16"?>' + push_of(GOOD).encode(),
        "",
    ),
    "an encoding that there is none": (
        lambda: b'<?xml version="1.0" encoding="x"?>' + push_of(GOOD).encode(),
        "",
    ),
    "bytes of no encoding": (lambda: b"\xff" * len(MEGABYTES), "it is not XML"),
    "4 MB of one text": (lambda: push_of(status_item(MEGABYTES, "7")).encode(), "item 1: mobile is longer than 64"),
    "4 MB as its type": (lambda: push_of(GOOD, push_type=MEGABYTES).encode(), "type is 'xxx"),  # type: ignore[arg-type]
    "4 MB as its count": (lambda: push_of().replace("0", MEGABYTES).encode(), "count says 'xxx"),
    "4 MB as a tag": (f"<{MEGABYTES}/>".encode, "it is not XML: Name too long"),
    "4 MB of one attribute": (lambda: push_of(GOOD).replace("<list", f"<list a='{MEGABYTES}'").encode(), ""),
    "4 MB of attributes": (
        lambda: push_of(GOOD).replace("<list", "<list " + " ".join(f"a{n}=''" for n in range(350_000))).encode(),
        "",
    ),
    "4 MB of namespaces": (
        lambda: push_of(GOOD).replace("<list", "<list " + " ".join(f"xmlns:a{n}='b'" for n in range(200_000))).encode(),
        "",
    ),
    "4 MB of elements": (lambda: push_of(of_size("<a/>")).encode(), f"it holds more than {MAX_ITEMS:,} items"),
    "4 MB of lists": (lambda: push_of(GOOD).replace("<list>", of_size("<list/>") + "<list>").encode(), ""),
    "4 MB of bad items": (lambda: push_of(of_size(status_item("", "7"))).encode(), "item 1: mobile is missing"),
    "4 MB of good items": (lambda: push_of(of_size(GOOD)).encode(), "count says '1'"),
    "4 MB of comments": (lambda: push_of(GOOD, of_size("<!---->")).encode(), "count says '2'"),
    "4 MB of references": (lambda: push_of(GOOD.replace("777", of_size("&#49;"))).encode(), "item 1: msgId is longer"),
}


@pytest.fixture(params=HOSTILE.values(), ids=HOSTILE, scope="module")
def hostile(request: pytest.FixtureRequest) -> tuple[bytes, str]:
    build, reason = request.param
    body = build()
    assert len(body) <= MAX_BODY_BYTES
    return body, reason


def test_a_push_made_to_be_dear_is_parsed_within_a_second(hostile: tuple[bytes, str]) -> None:
    body, reason = hostile
    before, began = psutil.Process().memory_info().rss, time.thread_time()
    try:
        push = parse_push(body)
    except Unreadable as error:
        said = str(error)
    else:
        said = "; ".join([*push.faults, push.note or ""])
    assert time.thread_time() - began < 1
    assert psutil.Process().memory_info().rss - before < 300 * 2**20
    assert said.startswith(reason)
    assert bool(said) is bool(reason)
    assert "root:" not in said


def test_a_push_made_to_be_dear_is_acknowledged_within_a_second_and_read(
    stack: Stack, kept: Kept, hostile: tuple[bytes, str]
) -> None:
    body, reason = hostile
    began = time.monotonic()
    assert post(stack, body) == SUCCESS
    assert time.monotonic() - began < 1
    [push] = kept.processed()
    assert (push.reason or "").startswith(reason)
    assert len(push.reason or "") < 5000


@pytest.fixture
def kept(stack: Stack, ledger: Engine) -> Kept:
    return Kept(stack, ledger)


def test_a_body_of_100_megabytes_is_refused_at_once_by_its_length(stack: Stack, kept: Kept) -> None:
    began = time.monotonic()
    assert ask(stack, head(path(stack), f"Content-Length: {100 * 10**6}"))[0] == 413
    assert time.monotonic() - began < 1
    assert kept.count() == 0


def test_a_body_of_100_megabytes_in_chunks_is_refused_after_what_may_be(stack: Stack, kept: Kept) -> None:
    address = urlsplit(stack.callback_url)
    megabyte = chunked(b"x" * 10**6, 10**6)
    sent = 0
    began = time.monotonic()
    with socket.create_connection((address.hostname, address.port), 10) as connection:
        connection.sendall(head(path(stack), "Transfer-Encoding: chunked"))
        try:
            for sent in range(1, 101):  # noqa: B007
                connection.sendall(megabyte)
        except ConnectionError:
            pass
        else:
            assert received(connection).startswith(b"HTTP/1.1 413")
    assert time.monotonic() - began < 1
    assert kept.count() == 0


def unfinished(stack: Stack) -> Iterator[bytes]:
    """What a client sends before it stalls: half a body, no body, half a head, half a chunk, or nothing."""
    length = f"Content-Length: {len(STATUS)}"
    while True:
        yield head(path(stack), length) + STATUS[:50]
        yield head(path(stack), length)
        yield head(path(stack), length)[:-2]
        yield head(path(stack), "Transfer-Encoding: chunked") + b"ff\r\n<"
        yield b""


def connected(stack: Stack, request: bytes) -> socket.socket:
    address = urlsplit(stack.callback_url)
    connection = socket.create_connection((address.hostname, address.port), 30)
    connection.sendall(request)
    return connection


def test_clients_that_stall_hold_up_the_others_for_seconds_and_are_cut_off(stack: Stack, kept: Kept) -> None:
    # Twice as many as there are threads.
    with ExitStack() as open_ones:
        stalled = [open_ones.enter_context(connected(stack, r)) for r in islice(unfinished(stack), 16)]
        began = time.monotonic()
        assert post(stack, STATUS) == SUCCESS
        assert time.monotonic() - began < ARRIVAL_SECONDS + 2 * GRACE_SECONDS + 2
        answers = [received(connection) for connection in stalled]
    assert {answer[:12] for answer in answers} == {b"", b"HTTP/1.1 400"}
    assert kept.count() == 1


def test_a_client_that_sends_a_byte_now_and_then_is_cut_off_too(stack: Stack, kept: Kept) -> None:
    began = time.monotonic()
    with connected(stack, head(path(stack), f"Content-Length: {len(STATUS)}")) as connection:
        connection.settimeout(0.2)
        answer = b""
        while not answer and time.monotonic() - began < 30:
            connection.sendall(b"x")
            try:
                answer = connection.recv(65536)
            except TimeoutError:
                continue
    assert answer.startswith(b"HTTP/1.1 400")
    assert time.monotonic() - began < ARRIVAL_SECONDS + GRACE_SECONDS + 2
    assert kept.count() == 0


def test_of_20_000_bodies_that_are_nearly_a_push_none_upsets_the_parser() -> None:
    assert fuzz_parser(range(20_000), seed=1, warm_after=2000).findings == []


def test_of_500_requests_that_are_nearly_a_push_none_is_answered_with_a_5xx(stack: Stack) -> None:
    result = fuzz_http(range(500), time.time_ns() % 2**32, stack, warm_after=50)
    assert result.findings == []
    assert result.ends["200"] > 200

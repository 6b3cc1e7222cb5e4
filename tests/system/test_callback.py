"""The callback app as the gateway meets it, over real sockets: what is acknowledged, and what becomes of it in the ledger."""

import socket
import statistics
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote, quote_plus, urlsplit

import pytest
from sqlalchemy import Engine, func, select

from callback_app.body import MAX_BODY_BYTES
from worker.devstack.stack import Stack
from worker.ledger import tables as t
from worker.ledger.engine import reading
from worker.ledger.inbound import push_queries, pushes
from worker.ledger.inbound.push_queries import PushView

SAMPLES = Path(__file__).parents[1] / "samples"
STATUS, REPLY = ((SAMPLES / name).read_bytes() for name in ("push-status.xml", "push-reply.xml"))
SAMPLE_MSG_ID, SAMPLE_MOBILE = "123423433", "13025452766"
SUCCESS = (200, b"SUCCESS")


def ask(stack: Stack, request: bytes, *, source: str = "127.0.0.1", hang_up: bool = False) -> tuple[int, bytes]:
    """Sends these bytes to the callback app. Returns the status, 0 where there is none, and the body."""
    address = urlsplit(stack.callback_url)
    with socket.create_connection((address.hostname, address.port), 10, (source, 0)) as connection:
        connection.sendall(request)
        if hang_up:
            connection.shutdown(socket.SHUT_WR)
        answer = received(connection)
    head, _, body = answer.partition(b"\r\n\r\n")
    return int(head.split()[1]) if head else 0, body


def received(connection: socket.socket) -> bytes:
    """All that comes until the other side closes."""
    answer = b""
    # Where the app closes before it has read all of a large body, the close becomes a reset.
    with suppress(ConnectionResetError):
        while part := connection.recv(65536):
            answer += part
    return answer


def path(stack: Stack) -> str:
    return f"/push/{stack.environment['SMS_PUSH_TOKEN']}"


def head(target: str, *headers: str, method: str = "POST") -> bytes:
    return "\r\n".join(
        [f"{method} {target} HTTP/1.1", "Host: callback", "Connection: close", *headers, "", ""]
    ).encode()


def post(stack: Stack, body: bytes, *headers: str, **options: Any) -> tuple[int, bytes]:
    return ask(stack, head(path(stack), f"Content-Length: {len(body)}", *headers) + body, **options)


def chunked(body: bytes, size: int = 100) -> bytes:
    parts = [body[start : start + size] for start in range(0, len(body), size)]
    return b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in parts)


class Kept:
    """The pushes that the ledger has since a test began, and what they brought."""

    def __init__(self, stack: Stack, ledger: Engine) -> None:
        self._stack, self._ledger = stack, ledger
        with reading(ledger) as connection:
            self._before = connection.execute(select(func.coalesce(func.max(t.pushes.c.id), 0))).scalar_one()

    def count(self) -> int:
        with reading(self._ledger) as connection:
            return int(
                connection.execute(
                    select(func.count()).where(t.pushes.c.id > self._before).select_from(t.pushes)
                ).scalar_one()
            )

    def processed(self) -> list[PushView]:
        """The pushes, once all of them have been processed."""

        def done() -> list[PushView] | None:
            with reading(self._ledger) as connection:
                newest = [push for push in push_queries.newest(connection, limit=100) if push.id > self._before]
            return None if any(push.state == "received" for push in newest) else newest

        return [] if not self.count() else self._stack.wait_for("pushes processed", done, seconds=20)

    def bodies(self) -> list[bytes]:
        with reading(self._ledger) as connection:
            rows = connection.execute(
                select(t.pushes.c.body).where(t.pushes.c.id > self._before).order_by(t.pushes.c.id)
            )
            return list(rows.scalars())

    def effect(self, msg_id: str) -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
        """The reports and the replies that there are for a msgId."""
        with reading(self._ledger) as connection:
            reports = connection.execute(
                select(t.reports.c.mobile, t.reports.c.status).where(t.reports.c.msg_id == int(msg_id))
            ).all()
            replies = connection.execute(
                select(t.first_replies.c.mobile, t.first_replies.c.content)
                .where(t.first_replies.c.msg_id == msg_id)
                .order_by(t.first_replies.c.id)
            ).all()
        return [(row[0], row[1]) for row in reports], [(row[0], row[1]) for row in replies]


@pytest.fixture
def kept(stack: Stack, ledger: Engine) -> Kept:
    return Kept(stack, ledger)


SAMPLE_EFFECT = ([(SAMPLE_MOBILE, "delivered")], [(SAMPLE_MOBILE, "测试1"), (SAMPLE_MOBILE, "测试2")])


@pytest.mark.parametrize("msg_id", [SAMPLE_MSG_ID, "123423434"], ids=["status first", "reply first"])
def test_the_documents_samples_take_effect_once_however_often_and_in_whatever_order(
    stack: Stack, kept: Kept, msg_id: str, capsys: pytest.CaptureFixture[str]
) -> None:
    bodies = [body.replace(SAMPLE_MSG_ID.encode(), msg_id.encode()) for body in (STATUS, REPLY)]
    if msg_id != SAMPLE_MSG_ID:
        bodies.reverse()
    post(stack, bodies[0])
    seconds = []
    for body in bodies * 10:
        began = time.perf_counter()
        assert post(stack, body) == SUCCESS
        seconds.append(time.perf_counter() - began)
    assert [(push.state, push.items) for push in kept.processed()] == [("processed", 2)] * 21
    assert kept.effect(msg_id) == SAMPLE_EFFECT
    assert kept.bodies() == [bodies[0], *(bodies * 10)]
    with capsys.disabled():
        median, longest = (1000 * figure for figure in (statistics.median(seconds), max(seconds)))
        print(f"\n20 pushes acknowledged in {median:.1f} ms (median), {longest:.1f} ms (longest)")  # noqa: T201


@pytest.mark.parametrize("sample", [STATUS, REPLY], ids=["status", "reply"])
@pytest.mark.parametrize("encode", [quote, quote_plus])
def test_a_push_by_get_is_its_whole_query_string(
    stack: Stack, kept: Kept, sample: bytes, encode: Callable[[bytes], str]
) -> None:
    assert ask(stack, head(f"{path(stack)}?{encode(sample)}", method="GET")) == SUCCESS
    assert kept.bodies() == [sample]
    assert [push.state for push in kept.processed()] == ["processed"]


def test_a_push_by_get_may_be_as_raw_as_a_request_line_can_be(stack: Stack, kept: Kept) -> None:
    # A request line has no white space, and Gunicorn takes no raw byte beyond ASCII there (RFC 9112, 3.2).
    query = "".join(STATUS.decode().split())
    assert ask(stack, head(f"{path(stack)}?{query}", method="GET")) == SUCCESS
    assert kept.bodies() == [query.encode()]


def test_a_push_in_chunks_is_taken_whole(stack: Stack, kept: Kept) -> None:
    request = head(path(stack), "Transfer-Encoding: chunked") + chunked(STATUS) + b"0\r\n\r\n"
    assert ask(stack, request) == SUCCESS
    assert kept.bodies() == [STATUS]


def test_a_push_that_expects_to_be_asked_for_is_asked_for(stack: Stack, kept: Kept) -> None:
    address = urlsplit(stack.callback_url)
    with socket.create_connection((address.hostname, address.port), 10) as connection:
        connection.sendall(head(path(stack), "Expect: 100-continue", f"Content-Length: {len(STATUS)}"))
        assert connection.recv(65536).startswith(b"HTTP/1.1 100 Continue")
        connection.sendall(STATUS)
        answer = received(connection)
    assert answer.endswith(b"\r\n\r\nSUCCESS")
    assert kept.bodies() == [STATUS]


@pytest.mark.parametrize("content_type", ["application/x-www-form-urlencoded", "text/xml; charset=gbk", "image/png"])
def test_a_push_is_taken_whatever_it_says_it_is(stack: Stack, kept: Kept, content_type: str) -> None:
    assert post(stack, STATUS, f"Content-Type: {content_type}") == SUCCESS
    assert kept.bodies() == [STATUS]


def test_what_is_no_push_is_not_acknowledged_and_not_kept(stack: Stack, kept: Kept) -> None:
    whole = f"Content-Length: {len(STATUS)}"
    wrong = head("/push/not-the-token-at-all", whole) + STATUS
    assert ask(stack, wrong)[0] == 404
    assert post(stack, STATUS, source="127.0.0.2")[0] == 403
    assert ask(stack, head(path(stack), f"Content-Length: {MAX_BODY_BYTES + 1}"))[0] == 413
    too_large = chunked(b"x" * (MAX_BODY_BYTES + 1), 65536) + b"0\r\n\r\n"
    assert ask(stack, head(path(stack), "Transfer-Encoding: chunked") + too_large)[0] == 413
    for cut_short in (
        head(path(stack), whole) + STATUS[:-1],
        head(path(stack), whole),
        head(path(stack), "Transfer-Encoding: chunked") + chunked(STATUS),
        head(path(stack), "Transfer-Encoding: chunked") + chunked(STATUS)[:-30],
    ):
        status, body = ask(stack, cut_short, hang_up=True)
        assert status in (0, 400)
        assert b"SUCCESS" not in body
    assert kept.count() == 0


def status_item(mobile: str, msg_id: str, epr_id: str = "1") -> str:
    return (
        f"<pushStatusForm><eprId>{epr_id}</eprId><mobile>{mobile}</mobile><msgId>{msg_id}</msgId>"
        "<status>1</status><userId>sword123</userId></pushStatusForm>"
    )


def push_of(*items: str, push_type: int = 1) -> str:
    return f"<returnForm><type>{push_type}</type><count>{len(items)}</count><list>{''.join(items)}</list></returnForm>"


GOOD = status_item("13800138009", "777")
ENTITY = '<!DOCTYPE returnForm [<!ENTITY x SYSTEM "file:///etc/passwd">]>'
ODD = {
    "no XML": ("您好", "quarantined", "it is not XML"),
    "a DTD": ("<!DOCTYPE returnForm>" + push_of(GOOD), "quarantined", "it has a DTD"),
    "an entity": (ENTITY + push_of(GOOD).replace("777", "&x;"), "quarantined", "it has a DTD"),
    "another root": (push_of(GOOD).replace("returnForm", "form"), "quarantined", "the root is <form>"),
    "another type": (push_of(GOOD, push_type=3), "quarantined", "type is '3'"),
    "an item without a mobile": (push_of(status_item("", "8"), GOOD), "quarantined", "item 1: mobile is missing"),
    "an item of another account": (push_of(status_item("13800138009", "9", "2"), GOOD), "quarantined", "eprId 2"),
    "a msgId nobody sent": (push_of(status_item("13800138009", "778")), "processed", "msgId nobody sent: 778"),
}


@pytest.mark.parametrize(("body", "state", "reason"), ODD.values(), ids=ODD)
def test_an_odd_push_is_acknowledged_and_kept_with_its_reason(
    stack: Stack, kept: Kept, body: str, state: str, reason: str
) -> None:
    assert post(stack, body.encode()) == SUCCESS
    (push,) = kept.processed()
    assert (push.state, kept.bodies()) == (state, [body.encode()])
    assert reason in (push.reason or "")


def test_a_bad_item_does_not_spoil_its_neighbour(stack: Stack, kept: Kept) -> None:
    items = (status_item("", "8801"), status_item("13800138009", "8802", "2"), status_item("13800138009", "8803"))
    assert post(stack, push_of(*items).encode()) == SUCCESS
    assert [push.state for push in kept.processed()] == ["quarantined"]
    assert [kept.effect(msg_id)[0] for msg_id in ("8801", "8802", "8803")] == [[], [], [("13800138009", "delivered")]]


def test_a_quarantined_push_that_is_replayed_is_read_again(stack: Stack, kept: Kept, ledger: Engine) -> None:
    assert post(stack, "您好".encode()) == SUCCESS
    [push] = kept.processed()
    with ledger.begin() as connection:
        assert pushes.replay(connection, push_ids=[push.id], now=datetime.now(UTC)) == [push.id]
    assert [push.state for push in kept.processed()] == ["quarantined"]

"""The callback app with its stores there, and away: a push is acknowledged if and only if it is kept."""

import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from ipaddress import ip_network
from urllib.parse import quote, quote_plus

import pytest
from flask.testing import FlaskClient
from ledger_driver import Ledger, mobile, reply_push, status_push
from redis import Redis
from sqlalchemy import Engine, update

from callback_app.app import create_app
from callback_app.inbox import open_inbox
from worker.domain.lane import PUSHES_QUEUED
from worker.inbound.process_push import keep_pushes
from worker.ledger import tables as t
from worker.ledger.engine import open_engine
from worker.ledger.inbound import pushes
from worker.redis_store import intake_pushes
from worker.redis_store.bells import FEW

TOKEN = "0123456789abcdef"
NOWHERE = "redis://127.0.0.1:1/0"
BODY = status_push((mobile(1), 7, 1)).encode()


def client(engine: Engine, redis_url: str, hourly_bytes: int = 2**31, **settings: object) -> FlaskClient:
    options = {"tokens": [TOKEN], "allow": [ip_network("127.0.0.0/8")]} | settings
    inbox = open_inbox(engine, redis_url, hourly_bytes=hourly_bytes)
    return create_app(inbox, **options).test_client()  # type: ignore[arg-type]


@pytest.fixture
def no_ledger() -> Iterator[Engine]:
    engine = open_engine("postgresql://nobody@127.0.0.1:1/none")
    yield engine
    engine.dispose()


def test_a_push_is_in_the_ledger_when_it_is_acknowledged(ledger: Ledger, redis: Redis, redis_url: str) -> None:
    answer = client(ledger.engine, redis_url).post(f"/push/{TOKEN}", data=BODY)
    assert (answer.status_code, answer.data, answer.mimetype) == (200, b"SUCCESS", "text/plain")
    (row,) = ledger.rows(t.pushes)
    assert (row["body"], row["state"], row["source"]) == (BODY, "received", "127.0.0.1")
    assert redis.llen("sms.push") == 1


@pytest.mark.parametrize("content_type", ["text/xml", "application/x-www-form-urlencoded", "multipart/form-data", ""])
def test_the_body_is_kept_as_it_came_whatever_its_content_type(
    ledger: Ledger, redis_url: str, content_type: str
) -> None:
    client(ledger.engine, redis_url).post(f"/push/{TOKEN}", data=BODY, content_type=content_type)
    assert [row["body"] for row in ledger.rows(t.pushes)] == [BODY]


@pytest.mark.parametrize("text", [reply_push((mobile(1), "7", "1+1 是 2")), BODY.decode()])
def test_a_push_by_get_has_the_xml_as_its_query(ledger: Ledger, redis_url: str, text: str) -> None:
    app = client(ledger.engine, redis_url)
    for query in (quote(text), quote_plus(text), quote(text, safe="<>/=+\"'")):
        assert app.get(f"/push/{TOKEN}", query_string=query).data == b"SUCCESS"
    assert [row["body"].decode() for row in ledger.rows(t.pushes)] == [text] * 3


def test_while_the_token_is_changed_the_new_and_the_old_are_as_good(ledger: Ledger, redis_url: str) -> None:
    app = client(ledger.engine, redis_url, tokens=["the-new-push-token", "the-old-push-token"])
    given = ("the-new-push-token", "the-old-push-token", "the-new-push-token,the-old-push-token", "the-next-push-token")
    assert [app.post(f"/push/{token}", data=BODY).status_code for token in given] == [200, 200, 404, 404]


@pytest.mark.parametrize("path", ["/push/0123456789abcdeX", "/push/", "/push/x/y", "/push/令牌", "/"])
def test_whoever_does_not_know_the_path_finds_nothing(ledger: Ledger, redis_url: str, path: str) -> None:
    assert client(ledger.engine, redis_url).post(path, data=BODY).status_code == 404
    assert ledger.rows(t.pushes) == []


@pytest.mark.parametrize(
    ("path", "forwarded", "status", "sender"),
    [
        (TOKEN, "203.0.113.7", 204, "203.0.113.7"),
        (TOKEN, "1.2.3.4, 203.0.113.7", 204, "203.0.113.7"),
        (TOKEN, "203.0.113.7, 1.2.3.4", 403, None),
        (TOKEN, "", 403, None),
        ("0123456789abcdeX", "203.0.113.7", 401, None),
    ],
)
def test_nginx_is_told_who_may_push_and_whose_push_it_is(
    ledger: Ledger, redis_url: str, path: str, forwarded: str, status: int, sender: str | None
) -> None:
    app = client(ledger.engine, redis_url, allow=[ip_network("203.0.113.0/24")], trusted_proxies=1)
    answer = app.get(f"/may-push/{path}", headers={"X-Forwarded-For": forwarded})
    assert (answer.status_code, answer.headers.get("X-Sender"), answer.data) == (status, sender, b"")
    assert ledger.rows(t.pushes) == []


@pytest.mark.parametrize(
    ("allow", "proxies", "address", "forwarded", "status"),
    [
        ("10.0.0.0/8", 0, "10.1.2.3", None, 200),
        ("10.0.0.0/8", 0, "::ffff:10.1.2.3", None, 200),
        ("2001:db8::/32", 0, "2001:db8::7", None, 200),
        ("10.0.0.0/8", 0, "192.168.0.1", None, 403),
        ("10.0.0.0/8", 0, "", None, 403),
        ("10.0.0.0/8", 0, "192.168.0.1", "10.1.2.3", 403),
        ("10.0.0.0/8", 1, "192.168.0.1", "10.1.2.3", 200),
        ("10.0.0.0/8", 1, "192.168.0.1", "10.1.2.3, 8.8.8.8", 403),
        ("10.0.0.0/8", 2, "192.168.0.1", "10.1.2.3, 192.168.0.2", 200),
        ("10.0.0.0/8", 1, "192.168.0.1", "nonsense", 403),
        ("10.0.0.0/8", 1, "::ffff:192.168.0.1", "10.1.2.3", 200),
        ("10.0.0.0/8", 1, "", "10.1.2.3", 200),
        ("10.0.0.0/8", 1, "8.8.8.8", "10.1.2.3", 403),
        ("10.0.0.0/8", 2, "8.8.8.8", "10.1.2.3, 192.168.0.1", 403),
        ("10.0.0.0/8", 1, "10.1.2.3", "8.8.8.8", 200),
    ],
)
def test_a_push_is_taken_from_the_addresses_on_the_list(
    ledger: Ledger, redis_url: str, allow: str, proxies: int, address: str, forwarded: str | None, status: int
) -> None:
    networks = [ip_network("192.168.0.0/16")]
    app = client(ledger.engine, redis_url, allow=[ip_network(allow)], trusted_proxies=proxies, proxy_networks=networks)
    headers = {"X-Forwarded-For": forwarded} if forwarded else {}
    answer = app.post(f"/push/{TOKEN}", data=BODY, headers=headers, environ_overrides={"REMOTE_ADDR": address})
    assert answer.status_code == status
    assert len(ledger.rows(t.pushes)) == (1 if status == 200 else 0)


def test_a_forwarded_address_counts_from_this_machine_alone_unless_the_proxies_are_named(
    ledger: Ledger, redis_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    app = client(ledger.engine, redis_url, allow=[ip_network("10.0.0.0/8")], trusted_proxies=1)
    headers = {"X-Forwarded-For": "10.1.2.3"}
    answers = [
        app.post(f"/push/{TOKEN}", data=BODY, headers=headers, environ_overrides={"REMOTE_ADDR": peer})
        for peer in ("127.0.0.1", "::1", "203.0.113.9")
    ]
    assert [answer.status_code for answer in answers] == [200, 200, 403]
    assert "SMS_PUSH_PROXY_NETWORKS does not name it" in caplog.text


def test_while_the_ledger_is_away_a_push_goes_to_redis(no_ledger: Engine, redis: Redis, redis_url: str) -> None:
    assert client(no_ledger, redis_url).post(f"/push/{TOKEN}", data=BODY).data == b"SUCCESS"
    (push,) = intake_pushes.take(redis, now=datetime.now(UTC)).values()
    assert (push.body, push.source) == (BODY, "127.0.0.1")
    assert redis.llen("sms.push") == 1


def test_while_redis_is_away_a_push_goes_to_the_ledger(ledger: Ledger) -> None:
    started = time.monotonic()
    assert client(ledger.engine, NOWHERE).post(f"/push/{TOKEN}", data=BODY).data == b"SUCCESS"
    assert len(ledger.rows(t.pushes)) == 1
    # kombu would try for six seconds to connect, and the gateway waits.
    assert time.monotonic() - started < 3


def test_while_both_are_away_a_push_is_not_acknowledged(no_ledger: Engine) -> None:
    answer = client(no_ledger, NOWHERE).post(f"/push/{TOKEN}", data=BODY)
    assert answer.status_code == 503
    assert b"SUCCESS" not in answer.data


def test_an_error_page_repeats_nothing_of_the_request(no_ledger: Engine) -> None:
    app = client(no_ledger, NOWHERE)
    for answer in (app.post(f"/push/{TOKEN}", data=b"<geheim/>"), app.post("/push/geheim", data=b"<geheim/>")):
        assert b"geheim" not in answer.data
        assert TOKEN.encode() not in answer.data


@pytest.mark.parametrize(
    ("with_ledger", "with_redis", "status"),
    [(True, True, 200), (True, False, 200), (False, True, 200), (False, False, 503)],
)
def test_it_is_ready_for_as_long_as_it_can_keep_a_push(
    ledger: Ledger, no_ledger: Engine, redis_url: str, with_ledger: bool, with_redis: bool, status: int
) -> None:
    app = client(ledger.engine if with_ledger else no_ledger, redis_url if with_redis else NOWHERE)
    answer = app.get("/readyz")
    assert answer.status_code == status
    assert answer.json is not None
    assert (answer.json["ledger"] == "ok", answer.json["redis"] == "ok") == (with_ledger, with_redis)


def test_pushes_beyond_the_hours_bytes_get_503_and_the_next_hour_takes_them(
    ledger: Ledger, redis_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    with ledger.engine.begin() as connection:
        pushes.add(connection, bytes(900_000), source="x", received_at=datetime.now(UTC) - timedelta(minutes=61))
    app = client(ledger.engine, redis_url, hourly_bytes=1_000_000)
    sizes = 900_000, 90_000, 8_000, 6_000
    assert [app.post(f"/push/{TOKEN}", data=b"x" * size).status_code for size in sizes] == [200, 200, 503, 200]
    assert "as many bytes of pushes within an hour as SMS_PUSH_HOURLY_MIB says" in caplog.text
    # Another process has its own count, and looks at what all have kept.
    assert client(ledger.engine, redis_url, hourly_bytes=1_000_000).post(f"/push/{TOKEN}", data=BODY).status_code == 503
    with ledger.engine.begin() as connection:
        connection.execute(update(t.pushes).values(received_at=datetime.now(UTC) - timedelta(hours=1)))
    assert client(ledger.engine, redis_url, hourly_bytes=1_000_000).post(f"/push/{TOKEN}", data=BODY).status_code == 200


def test_pushes_fill_their_share_of_redis_and_messages_have_the_rest_while_the_ledger_is_away(
    ledger: Ledger, no_ledger: Engine, redis: Redis, redis_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    app = client(no_ledger, redis_url)
    codes = [app.post(f"/push/{TOKEN}", data=bytes(4 * 1024**2 - 1) + b"x").status_code for _ in range(13)]
    assert codes == [200] * 11 + [503] * 2
    assert "64 MiB of pushes wait for it in Redis already" in caplog.text
    assert app.post(f"/push/{TOKEN}", data=BODY).status_code == 200
    while keep_pushes(ledger.engine, redis, now=datetime.now(UTC)):
        pass
    assert intake_pushes.size(redis) == 0
    assert len(ledger.rows(t.pushes)) == 12
    assert app.post(f"/push/{TOKEN}", data=bytes(4 * 1024**2 - 1) + b"x").status_code == 200


def test_what_a_version_before_put_into_redis_frees_no_more_than_was_counted(redis: Redis) -> None:
    now = datetime.now(UTC)
    redis.hset("sms:intake:push", "old", b"x" * 1000)
    assert intake_pushes.put(redis, "new", b"x", source="s", now=now)
    intake_pushes.remove(redis, [b"old"])
    assert intake_pushes.size(redis) == 0
    intake_pushes.remove(redis, [b"new"])
    assert (intake_pushes.size(redis), redis.exists("sms:intake:push")) == (0, 0)


def test_a_flood_of_pushes_is_no_flood_of_tasks(
    ledger: Ledger, no_ledger: Engine, redis: Redis, redis_url: str
) -> None:
    away = client(no_ledger, redis_url)
    assert {away.post(f"/push/{TOKEN}", data=b"x").status_code for _ in range(30)} == {200}
    assert redis.llen("sms.push") == FEW
    assert intake_pushes.size(redis) > 30 * intake_pushes.PUSH_OVERHEAD
    redis.lpush("sms.push", *["x"] * PUSHES_QUEUED)
    assert client(ledger.engine, redis_url).post(f"/push/{TOKEN}", data=BODY).status_code == 200
    assert redis.llen("sms.push") == FEW + PUSHES_QUEUED
    assert len(ledger.rows(t.pushes)) == 1


def test_a_count_of_bytes_that_somebody_spoilt_keeps_no_push_out_of_an_empty_redis(redis: Redis) -> None:
    redis.set("sms:intake:push:bytes", 2**40)
    assert intake_pushes.put(redis, "p", b"x", source="s", now=datetime.now(UTC))
    assert intake_pushes.size(redis) < 1000


def test_it_is_healthy_whatever_is_away(no_ledger: Engine) -> None:
    assert client(no_ledger, NOWHERE).get("/healthz").data == b"ok"


def test_an_unexpected_error_is_logged_without_the_token(
    ledger: Ledger, redis_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    inbox = open_inbox(ledger.engine, redis_url, hourly_bytes=2**31)
    app = create_app(inbox, tokens=[TOKEN], allow=[None])  # type: ignore[list-item]
    app.testing = False
    assert app.test_client().post(f"/push/{TOKEN}", data=BODY).status_code == 500
    assert "a request failed" in caplog.text
    assert TOKEN not in caplog.text
